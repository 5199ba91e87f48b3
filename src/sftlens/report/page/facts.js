// The list of facts. Whatever comes from the study is set as text, never as markup.
const factList = async () => {
  const PAGE = 50;
  const LONG = 240; // characters shown of a text before it is asked for
  const UNKNOWN = 0, LOST = 1, GAINED = 2, BOTH = 3, KEPT = 4, WRONG = 5;
  const STATES = {
    [LOST]: ["lost", "lost"], [GAINED]: ["gained", "gained"], [BOTH]: ["mixed", "both ways"],
    [KEPT]: ["same", "stays right"], [WRONG]: ["same", "stays wrong"],
  };
  const DOMAINS = { in: "in-domain", out: "out-of-domain" };
  const CHANGES = [
    ["changed", "lost or gained", [LOST, GAINED, BOTH]], ["lost", "lost", [LOST]],
    ["gained", "gained", [GAINED]], ["kept", "stays right", [KEPT]],
    ["wrong", "stays wrong", [WRONG]], ["all", "all facts", [LOST, GAINED, BOTH, KEPT, WRONG]],
  ];
  const element = (id) => document.getElementById(`fact-${id}`);
  const made = (tag, text, attributes = {}) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const count = (value) => value.toLocaleString("en-US");
  const counted = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

  const [text, bytes] = await Promise.all([unpacked("ledger-facts"), unpacked("ledger-answers")]);
  const ledger = JSON.parse(new TextDecoder().decode(text));
  const numFacts = ledger.question.length;
  const width = Math.ceil(numFacts / 8);
  const { models, base } = ledger;

  // One byte a fact: 1 right, 0 wrong, 2 unscored; made when a model is first looked at.
  const bitsOf = (row) => {
    const bits = new Uint8Array(numFacts);
    const start = row * width;
    for (let fact = 0; fact < numFacts; fact++) bits[fact] = (bytes[start + (fact >> 3)] >> (fact & 7)) & 1;
    return bits;
  };
  const answersOf = (rows, reference) => {
    const answers = bitsOf(rows[0]);
    if (reference) {
      for (let fact = 0; fact < numFacts; fact++) answers[fact] ^= reference[fact] === 1 ? 1 : 0;
    }
    if (rows.length > 1) {
      const unscored = bitsOf(rows[1]);
      for (let fact = 0; fact < numFacts; fact++) if (unscored[fact]) answers[fact] = 2;
    }
    return answers;
  };
  const baseAnswers = base && answersOf(base, null);
  const known = new Map();
  const sameRun = (one, other) =>
    one.level === other.level && one.size === other.size && one.seed === other.seed;
  const tunedModels = models.filter((model) => model.method === null);
  const tunedOf = (model) => tunedModels.find((one) => sameRun(one, model));
  const answersFor = (model) => {
    if (!known.has(model)) {
      const reference = model.method === null ? baseAnswers : answersFor(tunedOf(model));
      known.set(model, answersOf(model.rows, reference));
    }
    return known.get(model);
  };

  const options = (select, entries) => {
    const groups = new Map();
    select.replaceChildren();
    for (const [value, label, group] of entries) {
      let home = select;
      if (group) {
        home = groups.get(group) ?? made("optgroup", undefined, { label: group });
        if (!groups.has(group)) select.append(home);
        groups.set(group, home);
      }
      home.append(made("option", label, { value }));
    }
  };
  const short = (words) => (words.length > 60 ? `${words.slice(0, 59)}…` : words);

  // What may be compared: base with tuned, and tuned with each restoration.
  const comparisons = new Map();
  if (baseAnswers) comparisons.set("tuned", { label: "fine-tuning", models: tunedModels });
  for (const model of models) {
    if (model.method === null) continue;
    const key = `${model.method}/${model.share}`;
    const name = ledger.methods[model.method];
    if (!comparisons.has(key)) {
      const label = model.share === null ? name : `${name}, ${model.share} %`;
      comparisons.set(key, { label, group: "restoration", models: [] });
    }
    comparisons.get(key).models.push(model);
  }
  options(element("comparison"), [...comparisons].map(([key, one]) => [key, one.label, one.group]));

  const cellName = (model) =>
    `level ${model.level}, ${counted(Math.round(ledger.facts[`${model.level}-${model.size}`]), "fact")}`;
  const fillRuns = () => {
    const { models: candidates } = comparisons.get(element("comparison").value);
    const cells = new Map();
    for (const model of candidates) {
      const key = `${model.level}/${model.size}`;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(model);
    }
    const entries = [["", `all ${counted(candidates.length, "run")}`]];
    for (const [key, members] of cells) {
      const group = cellName(members[0]);
      if (members.length > 1) entries.push([key, `${group}: all seeds`, group]);
      for (const model of members) entries.push([`${key}/${model.seed}`, `${group}: seed ${model.seed}`, group]);
    }
    const before = element("run").value;
    options(element("run"), entries);
    element("run").value = entries.some(([value]) => value === before) ? before : "";
  };

  options(element("change"), CHANGES.map(([value, label]) => [value, label]));
  options(element("topic"), [["", "all topics"], ...ledger.topics.map((topic, place) => [place, short(topic)])]);
  options(element("domain"), [["", "both"], ...ledger.domains.map((domain, place) => [place, DOMAINS[domain] ?? domain])]);
  options(element("level"), [["", "all levels"], ...[0, 1, 2, 3, 4].map((level) => [level, `level ${level}`])]);

  // What became of each fact over the chosen runs.
  const state = new Uint8Array(numFacts);
  const numChanged = new Uint16Array(numFacts);
  const numSeen = new Uint16Array(numFacts);
  const compare = () => {
    const [level, size, seed] = element("run").value.split("/");
    const { models: candidates } = comparisons.get(element("comparison").value);
    const chosen = candidates.filter((model) =>
      (!level || model.level === +level) && (!size || model.size === +size) && (!seed || model.seed === +seed));
    const lost = new Uint16Array(numFacts), gained = new Uint16Array(numFacts), right = new Uint16Array(numFacts);
    numSeen.fill(0);
    for (const model of chosen) {
      const before = model.method === null ? baseAnswers : answersFor(tunedOf(model));
      const after = answersFor(model);
      for (let fact = 0; fact < numFacts; fact++) {
        const was = before[fact], is = after[fact];
        if (was === 2 || is === 2) continue;
        numSeen[fact]++;
        if (was > is) lost[fact]++;
        else if (is > was) gained[fact]++;
        else right[fact] += is;
      }
    }
    for (let fact = 0; fact < numFacts; fact++) {
      const less = lost[fact], more = gained[fact];
      numChanged[fact] = Math.max(less, more);
      if (!numSeen[fact]) state[fact] = UNKNOWN;
      else if (less > more) state[fact] = LOST;
      else if (more > less) state[fact] = GAINED;
      else if (less) state[fact] = BOTH;
      else state[fact] = 2 * right[fact] >= numSeen[fact] ? KEPT : WRONG;
    }
  };

  const plain = (words) => words.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  let haystacks = null;
  const gather = () => {
    haystacks ??= ledger.question.map((question, fact) =>
      plain(`${question}\n${ledger.answers[fact]}\n${ledger.topics[ledger.topic[fact]]}`));
  };
  const matches = (fact, needles) => needles.every((needle) => haystacks[fact].includes(needle));

  const sorting = { by: "runs", down: true };
  const order = {
    change: (one, other) => state[other] - state[one] || numChanged[one] - numChanged[other],
    fact: (one, other) => one - other,
    level: (one, other) => ledger.level[one] - ledger.level[other],
    runs: (one, other) => numChanged[one] - numChanged[other] || state[other] - state[one],
  };
  let found = [];
  let page = 0;
  let telling;

  const select = () => {
    const words = plain(element("search").value).split(/\s+/).filter(Boolean);
    if (words.length) gather();
    const allowed = new Set(CHANGES.find(([value]) => value === element("change").value)[2]);
    const wanted = (id) => (element(id).value === "" ? null : +element(id).value);
    const topic = wanted("topic"), domain = wanted("domain"), level = wanted("level");
    const counts = new Array(6).fill(0);
    found = [];
    for (let fact = 0; fact < numFacts; fact++) {
      if (topic !== null && ledger.topic[fact] !== topic) continue;
      if (domain !== null && ledger.domain[fact] !== domain) continue;
      if (level !== null && ledger.level[fact] !== level) continue;
      if (words.length && !matches(fact, words)) continue;
      counts[state[fact]]++;
      if (allowed.has(state[fact])) found.push(fact);
    }
    const compared = order[sorting.by];
    const direction = sorting.down ? -1 : 1;
    found.sort((one, other) => direction * compared(one, other) || one - other);
    page = 0;
    const total = counts.reduce((sum, part) => sum + part, 0) - counts[UNKNOWN];
    const told =
      `${counted(found.length, "fact")} listed. Of ${count(total)} that match the filters: `
      + `${count(counts[LOST])} lost, ${count(counts[GAINED])} gained, `
      + (counts[BOTH] ? `${count(counts[BOTH])} both ways, ` : "")
      + `${count(counts[KEPT])} stay right, ${count(counts[WRONG])} stay wrong.`;
    element("count").textContent = told;
    clearTimeout(telling); // a reader hears where typing ended, not every letter
    telling = setTimeout(() => { element("told").textContent = told; }, 500);
    show();
  };

  const shown = (words, tag, className) => {
    const node = made(tag, words, { dir: "auto", class: className });
    if (words.length <= LONG) return [node];
    node.textContent = `${words.slice(0, LONG)}…`;
    const more = made("button", "Show all", { type: "button", class: "link", "aria-expanded": "false" });
    more.addEventListener("click", () => {
      const open = more.getAttribute("aria-expanded") !== "true";
      more.setAttribute("aria-expanded", String(open));
      more.textContent = open ? "Show less" : "Show all";
      node.textContent = open ? words : `${words.slice(0, LONG)}…`;
    });
    return [node, more];
  };

  const row = (fact) => {
    const line = made("tr");
    const [tone, word] = STATES[state[fact]];
    const change = made("td");
    change.append(made("span", word, { class: `change ${tone}` }));
    const told = made("td", undefined, { class: "fact" });
    told.append(...shown(ledger.question[fact], "span", "question"));
    told.append(...shown(ledger.answers[fact], "span", "accepted"));
    const place = made("span", undefined, { class: "place" });
    place.append(
      made("bdi", short(ledger.topics[ledger.topic[fact]])),
      ` · ${DOMAINS[ledger.domains[ledger.domain[fact]]] ?? ledger.domains[ledger.domain[fact]]}`,
    );
    told.append(place);
    const runs = numChanged[fact] ? `${count(numChanged[fact])} of ${count(numSeen[fact])}` : `0 of ${count(numSeen[fact])}`;
    line.append(change, told, made("td", String(ledger.level[fact]), { class: "n" }), made("td", runs, { class: "n" }));
    return line;
  };

  const show = () => {
    const numPages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(page, 0), numPages - 1);
    const rows = found.slice(page * PAGE, (page + 1) * PAGE).map(row);
    if (!rows.length) {
      const none = made("tr");
      none.append(made("td", "No fact matches.", { colspan: "4" }));
      rows.push(none);
    }
    element("rows").replaceChildren(...rows);
    element("page").textContent = `Page ${count(page + 1)} of ${count(numPages)}`;
    for (const id of ["first", "previous"]) element(id).disabled = page === 0;
    for (const id of ["next", "last"]) element(id).disabled = page === numPages - 1;
    for (const button of document.querySelectorAll(".facts [data-sort]")) {
      const column = button.closest("th");
      if (button.dataset.sort === sorting.by) {
        column.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      } else column.removeAttribute("aria-sort");
    }
  };

  const turn = (to) => {
    const pressed = document.activeElement;
    page = to;
    show();
    if (pressed?.disabled) element(pressed === element("first") || pressed === element("previous") ? "next" : "previous").focus();
    element("list").querySelector(".facts").scrollIntoView({ block: "start" });
  };
  element("first").addEventListener("click", () => turn(0));
  element("previous").addEventListener("click", () => turn(page - 1));
  element("next").addEventListener("click", () => turn(page + 1));
  element("last").addEventListener("click", () => turn(Infinity));

  element("search").addEventListener("input", select);
  for (const id of ["change", "topic", "domain", "level"]) element(id).addEventListener("change", select);
  const again = () => { compare(); select(); };
  element("comparison").addEventListener("change", () => { fillRuns(); again(); });
  element("run").addEventListener("change", again);
  for (const button of document.querySelectorAll(".facts [data-sort]")) {
    button.addEventListener("click", () => {
      const by = button.dataset.sort;
      sorting.down = by === sorting.by ? !sorting.down : by !== "fact" && by !== "level";
      sorting.by = by;
      select();
    });
  }
  element("reset").addEventListener("click", () => {
    element("search").value = "";
    for (const id of ["change", "topic", "domain", "level", "comparison"]) element(id).selectedIndex = 0;
    Object.assign(sorting, { by: "runs", down: true });
    fillRuns();
    element("run").value = "";
    again();
  });

  element("list").hidden = false;
  fillRuns();
  again();
  setTimeout(gather, 1000); // so that the first letter finds it done

  // The explorer asks for the facts of one restoration.
  return ({ method, share, run }) => {
    element("comparison").value = `${ledger.methods.indexOf(method)}/${share}`;
    fillRuns();
    element("run").value = run;
    if (element("run").selectedIndex < 0) element("run").selectedIndex = 0;
    element("change").value = "changed";
    again();
    document.getElementById("facts").scrollIntoView();
    element("change").focus({ preventScroll: true });
  };
};
