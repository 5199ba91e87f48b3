(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll(".plot")];
  const panels = [...document.querySelectorAll(".panel")];
  const tabs = document.querySelector(".tabs");
  const { palette, figures } = JSON.parse(document.getElementById("figures").textContent);

  const loadPlotly = async () => {
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await unpacked("plotly"));
    document.head.append(script);
  };

  // Figures are made in the light page's colours; a dark page exchanges each for its partner.
  const coloured = (value, isDark) => {
    if (Array.isArray(value)) return value.map((part) => coloured(part, isDark));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, part]) => [key, coloured(part, isDark)]),
      );
    }
    return (isDark && palette[value]) || value;
  };

  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  const drawOne = (plot, inDark) => {
    const panel = plot.closest(".panel");
    const wasHidden = panel?.hidden;
    if (panel) panel.hidden = false; // a hidden plot has no width to fill
    const { data, layout } = coloured(figures[plot.dataset.figure], inDark);
    layout.font.family = getComputedStyle(root).getPropertyValue("--sans");
    layout.hoverlabel.bgcolor = inDark ? "#262d35" : "#ffffff";
    layout.hoverlabel.bordercolor = inDark ? "#4a5561" : "#b9c0c8";
    layout.hoverlabel.font.color = layout.font.color;
    layout.hoverlabel.font.family = layout.font.family;
    Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
    if (panel) panel.hidden = wasHidden;
  };

  // One figure at a time, so that the page answers in between; a new drawing ends an old one.
  const pause = () => new Promise((resolve) => { setTimeout(resolve); });
  let drawing = 0;
  const draw = async () => {
    const own = ++drawing;
    delete root.dataset.drawn;
    for (const plot of plots) {
      await pause();
      if (own !== drawing) return;
      drawOne(plot, isDark());
    }
    root.dataset.drawn = "yes";
  };
  const drawAtOnce = (inDark) => {
    drawing++;
    plots.forEach((plot) => drawOne(plot, inDark));
    root.dataset.drawn = "yes";
  };

  const fit = (plot) => {
    if (plot.data && plot.offsetWidth !== plot.querySelector(".main-svg").clientWidth) {
      if (plot.offsetWidth) Plotly.Plots.resize(plot);
    }
  };

  const showLevel = () => {
    const level = tabs?.querySelector("input:checked").value;
    panels.forEach((panel) => { panel.hidden = panel.dataset.level !== level; });
  };

  if (tabs) {
    tabs.hidden = false;
    tabs.addEventListener("change", () => {
      showLevel();
      plots.forEach(fit); // the window may have changed while they were hidden
    });
    showLevel();
  }

  // A linked section may lie under a closed list of numbers; printing shows them all.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((part) => { part.open = true; });
    if (window.Plotly) { drawAtOnce(false); plots.forEach(fit); }
  });
  addEventListener("afterprint", () => {
    closed.forEach((part) => { part.open = false; });
    if (window.Plotly) { drawAtOnce(isDark()); plots.forEach(fit); }
  });

  const THEMES = ["system", "dark", "light"];
  const themeButton = document.getElementById("theme");
  const setTheme = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    document.getElementById("theme-name").textContent = theme;
  };
  const remembered = (theme) => {
    try { // a browser may refuse storage to pages on disk
      if (theme) localStorage.setItem("sftlens-theme", theme);
      return localStorage.getItem("sftlens-theme");
    } catch { return null; }
  };
  const before = remembered();
  if (THEMES.includes(before)) setTheme(before);
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    setTheme(next);
    remembered(next);
    if (window.Plotly) draw();
  });

  const loadLists = async () => {
    if (document.getElementById("fact-list")) {
      const listFacts = await factList();
      document.addEventListener("facts-wanted", ({ detail }) => listFacts(detail));
    }
    if (document.getElementById("restorer")) await restorationExplorer();
    root.dataset.usable = "yes";
    await pause();
  };

  loadLists()
    .then(loadPlotly)
    .then(() => {
      dark.addEventListener("change", draw);
      return draw();
    })
    .catch((error) => {
      document.getElementById("no-figures").hidden = false;
      console.error(error);
    });
})();
