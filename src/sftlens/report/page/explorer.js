// One restoration at a time. Every number comes from the study's tables, as tenths of a percent.
const restorationExplorer = async () => {
  const element = (id) => document.getElementById(`restorer-${id}`);
  const made = (tag, text, attributes = {}) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const DOMAINS = { in: "in-domain", out: "out-of-domain" };
  const NOT_MEASURED = "not measured";
  const minus = (text) => text.replace("-", "\u2212");
  const tenth = (value) => minus((value / 10).toFixed(1));
  const percent = (value) => `${tenth(value)}\u00a0%`;
  const interval = (found) =>
    found ? `${percent(found[0])} (${tenth(found[1])} to ${tenth(found[2])})` : NOT_MEASURED;
  const count = (value) => value.toLocaleString("en-US");

  const data = JSON.parse(new TextDecoder().decode(await unpacked("restored")));
  const group = () => data.groups[+element("group").value];
  const choice = () => +element("run").value; // 0 for all seeds
  const options = (select, labels) => {
    const before = select.selectedIndex;
    select.replaceChildren(...labels.map((label, value) => made("option", label, { value })));
    select.selectedIndex = before >= 0 && before < labels.length ? before : 0;
  };
  const ofMethod = () => group().restored
    .filter((one) => one.method === +element("method").selectedOptions[0].dataset.method)
    .sort((one, other) => one.share - other.share);
  const chosen = () => ofMethod()[+element("share").value - 1];

  const fillGroup = () => {
    const { seeds, restored } = group();
    const names = seeds.map((seed) => `seed ${seed}`);
    options(element("run"), seeds.length > 1 ? [`all ${seeds.length} seeds`, ...names] : names);
    const select = element("method");
    const before = select.value;
    const methods = [...new Set(restored.map((one) => one.method))].sort((one, other) => one - other);
    select.replaceChildren(...methods.map((method) =>
      made("option", data.methods[method], { value: `m${method}`, "data-method": method })));
    if (methods.some((method) => `m${method}` === before)) select.value = before;
    fillShares();
  };
  const fillShares = (share) => {
    const shares = ofMethod();
    element("share").max = shares.length;
    const place = shares.findIndex((one) => one.share === share);
    if (place >= 0) element("share").value = place + 1;
  };

  const numbers = () => {
    const at = choice();
    return { at, tuned: group().tuned.accuracy[at], restored: chosen()?.accuracy[at] };
  };

  const span = (found, kind) => {
    const line = made("span", undefined, { class: `span ${kind}` });
    line.style.left = `${found[1] / 10}%`;
    line.style.width = `${(found[2] - found[1]) / 10}%`;
    const dot = made("span", undefined, { class: `dot ${kind}` });
    dot.style.left = `${found[0] / 10}%`;
    return [line, dot];
  };

  const cell = (found) => {
    const node = made("td", found ? percent(found[0]) : NOT_MEASURED);
    if (found) node.append(" ", made("small", `(${tenth(found[1])} to ${tenth(found[2])})`));
    return node;
  };
  const table = (place) => {
    const { tuned, restored } = numbers();
    const whole = made("table", undefined, { class: "explored" });
    whole.append(made("caption", `Accuracy, ${DOMAINS[data.domains[place]]}, by level of the fact`));
    const head = made("tr");
    for (const [name, kind] of [["level"], ["tuned model", "before"], ["restored", "after"]]) {
      const title = made("th", undefined, { scope: "col" });
      if (kind) title.append(made("span", undefined, { class: `key dot ${kind}`, "aria-hidden": "true" }));
      title.append(name);
      head.append(title);
    }
    const top = made("thead");
    top.append(head);
    const body = made("tbody");
    tuned[place].forEach((before, level) => {
      const after = restored?.[place][level];
      const row = made("tr");
      row.append(
        made("th", level === 5 ? "mean" : String(level), { scope: "row" }),
        cell(before),
        restored ? cell(after) : made("td", "the same model"),
      );
      const track = made("div", undefined, { class: "track", "aria-hidden": "true" });
      if (before) track.append(...span(before, "before"));
      if (after) track.append(...span(after, "after"));
      row.firstChild.append(track);
      body.append(row);
    });
    whole.append(top, body);
    return whole;
  };

  const tile = (name, value, note) => {
    const whole = made("div");
    whole.append(made("dt", name), made("dd", value));
    if (note) whole.append(made("dd", note, { class: "note" }));
    return whole;
  };
  const show = () => {
    const one = chosen();
    const { at, tuned, restored } = numbers();
    const told = !one ? "none" : one.share === null ? "no share" : `${one.share}\u00a0%`;
    element("told").textContent = told;
    element("share").setAttribute("aria-valuetext", one ? told : "none, the tuned model");
    const counts = one?.counts[at];
    const seeds = at === 0 ? group().seeds.length : 1;
    const of = (place) => (counts ? ` of ${count(counts[place][0])} answers` : "");
    const summed = (name, field) => tile(
      name,
      counts ? count(counts.reduce((sum, part) => sum + part[field], 0)) : "0",
      counts
        ? data.domains.map((domain, place) => `${count(counts[place][field])}${of(place)} ${DOMAINS[domain]}`).join(", ")
        : "nothing is restored",
    );
    const norm = one?.norms[at];
    element("tiles").replaceChildren(
      ...(data.has_base ? [summed("Come back", 1)] : []),
      summed("Newly right", 2),
      summed("Newly lost", 3),
      tile(
        "Squared norm removed",
        !one ? percent(0) : norm ? percent(norm[0]) : NOT_MEASURED,
        norm && norm[1] !== norm[2] ? `runs: ${percent(norm[1])} to ${percent(norm[2])}` : undefined,
      ),
    );
    element("tables").replaceChildren(...data.domains.map((_, place) => table(place)));
    const what = seeds > 1 ? `over ${seeds} seeds` : "of this run";
    element("summary").textContent = data.domains.map((domain, place) => {
      const before = tuned[place][5], after = restored?.[place][5];
      return `Mean accuracy ${DOMAINS[domain]} ${what}: ${interval(before)} tuned`
        + (restored ? `, ${interval(after)} restored.` : ".");
    }).join(" ");
  };

  options(element("group"), data.groups.map((one) =>
    `level ${one.level}, ${count(Math.round(one.facts))} facts`));
  fillGroup();
  element("group").addEventListener("change", () => {
    const share = chosen()?.share;
    fillGroup();
    fillShares(share);
    show();
  });
  element("run").addEventListener("change", show);
  element("method").addEventListener("change", () => {
    const share = shareShown;
    fillShares(share);
    show();
  });
  let shareShown;
  element("share").addEventListener("input", () => { shareShown = chosen()?.share; show(); });
  element("share").value = Math.ceil(ofMethod().length / 2);
  shareShown = chosen()?.share;
  document.getElementById("restorer").hidden = false;
  show();

  element("facts")?.addEventListener("click", () => {
    const one = chosen();
    if (!one) return;
    const { level, size, seeds } = group();
    const seed = choice() === 0 ? "" : `/${seeds[choice() - 1]}`;
    document.dispatchEvent(new CustomEvent("facts-wanted", {
      detail: { method: data.methods[one.method], share: one.share, run: `${level}/${size}${seed}` },
    }));
  });
};
