// Figure 3: states of the evolving layer as paths, beside the attention of every target to every behaviour; one step
// at a time is read in both, by pointer or by key.
"use strict";

const PATHS = ["var(--red)", "var(--blue)", "var(--green)", "var(--pink)", "var(--sky)", "var(--grey)"];

function evolutionOf(figure) {
  const { history, targets, variance } = figure;
  let rest = 0;
  const drawn = targets.map((target) => ({ ...target, shown: true, colour: target.name === "none" ? "var(--yellow)" : PATHS[rest++ % PATHS.length] }));
  const margin = { left: 52, right: 16, top: 12, bottom: 36 };
  const height = 340;
  let width = 0;
  let step = null;

  const plot = make("div", {
    class: "plot paths", tabindex: 0, role: "group",
    "aria-label": `States after each of ${history.length} behaviours for the targets ${targets.map((target) => target.name).join(", ")}. Left and right arrow go through the behaviours, Escape leaves them.`,
  });
  const readout = make("p", { class: "readout step", "aria-live": "polite" });
  const legend = make("ul", { class: "legend" });

  function draw() {
    width = plot.clientWidth || 520;
    const all = drawn.flatMap((one) => one.points);
    const range = (axis) => {
      const values = all.map((point) => point[axis]);
      const pad = (Math.max(...values) - Math.min(...values) || 1) * 0.06;
      return [Math.min(...values) - pad, Math.max(...values) + pad];
    };
    const [x0, x1] = range(0);
    const [y0, y1] = range(1);
    const bottom = height - margin.bottom;
    const x = (value) => margin.left + ((value - x0) / (x1 - x0)) * (width - margin.left - margin.right);
    const y = (value) => bottom - ((value - y0) / (y1 - y0)) * (bottom - margin.top);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
    const across = ticks(y0, y1, 5);
    for (const value of across.values) {
      svg.append(make("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(value), y2: y(value) }),
        make("text", { x: margin.left - 6, y: y(value) + 4, "text-anchor": "end" }, minus(value.toFixed(across.digits))));
    }
    const along = ticks(x0, x1, width < 420 ? 4 : 6);
    for (const value of along.values) {
      svg.append(make("line", { class: "grid", x1: x(value), x2: x(value), y1: margin.top, y2: bottom }),
        make("text", { x: x(value), y: bottom + 15, "text-anchor": "middle" }, minus(value.toFixed(along.digits))));
    }
    const share = (part) => `${Math.round(100 * part)} % of the variance`;
    svg.append(make("text", { x: (margin.left + width - margin.right) / 2, y: height - 5, "text-anchor": "middle" }, `component 1 (${share(variance[0])})`),
      make("text", { x: 11, y: (margin.top + bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 11 ${(margin.top + bottom) / 2})` }, `component 2 (${share(variance[1])})`));
    for (const one of drawn.filter((each) => each.shown)) {
      svg.append(make("path", { class: "curve", d: `M${one.points.map(([a, b]) => `${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("L")}`, stroke: one.colour, "stroke-width": 1.8 }));
      one.points.forEach(([a, b], i) => {
        const end = i === one.points.length - 1;
        svg.append(make("circle", { cx: x(a), cy: y(b), r: i === step ? 6.5 : end ? 5 : 2.8, fill: one.colour, class: i === step ? "read" : null }));
      });
    }
    const last = drawn.filter((each) => each.shown).at(-1);
    if (last) last.points.forEach(([a, b], i) => svg.append(make("text", { class: "order", x: x(a) + 7, y: y(b) - 6 }, i + 1)));
    plot.replaceChildren(svg);
    places = drawn.filter((each) => each.shown).flatMap((one) => one.points.map(([a, b], i) => [x(a), y(b), i]));
  }
  let places = [];

  function read(next) {
    step = next;
    readout.textContent = step === null ? "Point at a state or a cell to read it. Keys: ← → behaviours, Esc none."
      : `Behaviour ${step + 1} of ${history.length}, ${history[step]}. Attention: ${targets.map((target) => `${target.name} ${target.attention[step].toFixed(3)}`).join(", ")}.`;
    for (const cell of grid.querySelectorAll("[data-step]")) cell.classList.toggle("read", Number(cell.dataset.step) === step);
    draw();
  }

  const follow = (event) => {
    const box = plot.getBoundingClientRect();
    const distance = ([a, b]) => Math.hypot(a - (event.clientX - box.left), b - (event.clientY - box.top));
    const near = places.reduce((a, b) => (!a || distance(b) < distance(a) ? b : a), null);
    const next = near && distance(near) < 28 ? near[2] : null;
    if (next !== step) read(next);
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerenter", follow); // a cell that is left redraws the plot, and so ends the move's event
  plot.addEventListener("pointerleave", () => read(null));
  plot.addEventListener("keydown", (event) => {
    const end = history.length - 1;
    const actions = {
      ArrowRight: () => read(step === null ? 0 : Math.min(step + 1, end)), ArrowLeft: () => read(step === null ? end : Math.max(step - 1, 0)),
      Home: () => read(0), End: () => read(end), Escape: () => read(null),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });

  for (const one of drawn) {
    const swatch = make("svg", { width: 22, height: 10, "aria-hidden": "true" }, make("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke: one.colour, "stroke-width": 2.6 }));
    const button = make("button", { type: "button", "aria-pressed": "true", click: () => { one.shown = !one.shown; button.setAttribute("aria-pressed", String(one.shown)); draw(); } }, swatch, one.name);
    legend.append(make("li", {}, button));
  }
  const grid = attentionGrid(history, drawn, read);
  new ResizeObserver(() => { if (plot.clientWidth && plot.clientWidth !== width) draw(); }).observe(plot);
  const section = make("section", { class: "evolution" },
    make("h2", {}, figure.title),
    make("div", { class: "charts wide" },
      make("figure", {}, make("figcaption", {}, make("strong", {}, "(a) States h′ after each behaviour, projected")), plot, legend),
      make("figure", {}, make("figcaption", {}, make("strong", {}, "(b) Attention to the behaviours, oldest first")),
        make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "attention" }, grid),
        make("p", { class: "hint" }, `Blue: more than equal attention, ${(1 / history.length).toFixed(3)}; orange: less.`))),
    readout,
    make("ul", { class: "said" }, figure.caption.map((sentence) => make("li", {}, sentence))),
    make("p", {}, "Draw it again:"), commandBox(figure.command));
  read(null);
  return section;
}

/** A row a target, a column a behaviour; the colour says how far from equal attention a cell is. */
function attentionGrid(history, drawn, read) {
  const equal = 1 / history.length;
  const most = Math.max(equal / 4, ...drawn.flatMap((one) => one.attention.map((value) => Math.abs(value - equal))));
  const cellOf = (value, i) => make("td", {
    class: "number", "data-step": i, pointerenter: () => read(i), pointerleave: () => read(null),
    style: `background: color-mix(in srgb, var(${value > equal ? "--blue" : "--red"}) ${Math.round((60 * Math.abs(value - equal)) / most)}%, transparent)`,
  }, value.toFixed(3).replace(/^0/, ""));
  return make("table", { class: "attention" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "target"), history.map((name, i) => make("th", { scope: "col", "data-step": i }, make("small", {}, `${i + 1} `), name)))),
    make("tbody", {}, drawn.map((one) => make("tr", {}, make("th", { scope: "row" }, make("span", { class: "dot", style: `background: ${one.colour}` }), one.name), one.attention.map(cellOf)))));
}

function showEvolution(place, figures) {
  place.append(make("h1", {}, "Evolving interests"),
    make("p", { class: "lead" }, "Figure 3 of the paper: one history under several targets. States of the evolving layer are projected together on their first two principal components and joined in order; “none” gives every behaviour the same attention, so that no target has a say."),
    ...figures.map(evolutionOf));
}
