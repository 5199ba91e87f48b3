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

  // A hidden plot has no width to fill, so all panels are open while they are drawn.
  const draw = (isDark) => {
    panels.forEach((panel) => { panel.hidden = false; });
    const style = getComputedStyle(document.documentElement);
    for (const plot of plots) {
      const { data, layout } = coloured(figures[plot.dataset.figure], isDark);
      layout.font.family = style.getPropertyValue("--sans");
      layout.hoverlabel.bgcolor = isDark ? "#262d35" : "#ffffff";
      layout.hoverlabel.bordercolor = isDark ? "#4a5561" : "#b9c0c8";
      layout.hoverlabel.font.color = layout.font.color;
      layout.hoverlabel.font.family = layout.font.family;
      Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
    }
    showLevel();
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
    if (window.Plotly) { draw(false); plots.forEach(fit); }
  });
  addEventListener("afterprint", () => {
    closed.forEach((part) => { part.open = false; });
    if (window.Plotly) { draw(dark.matches); plots.forEach(fit); }
  });

  const loadFacts = async () => {
    if (document.getElementById("fact-list")) {
      const listFacts = await factList();
      document.addEventListener("facts-wanted", ({ detail }) => listFacts(detail));
    }
    if (document.getElementById("restorer")) await restorationExplorer();
    document.documentElement.dataset.usable = "yes";
  };

  loadFacts()
    .then(loadPlotly)
    .then(() => {
      draw(dark.matches);
      dark.addEventListener("change", () => draw(dark.matches));
      document.documentElement.dataset.drawn = "yes";
    })
    .catch((error) => {
      document.getElementById("no-figures").hidden = false;
      console.error(error);
    });
})();
