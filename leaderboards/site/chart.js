// A chart of learning curves by uPlot (vendor/): the mean of the seeds as a line, lowest to highest as a band.
"use strict";

/** Columns of a curve {steps, seeds} for uPlot: steps, mean, lowest, highest; null where a seed has no value. */
function columnsOfCurve({ steps, seeds }) {
  const values = steps.map((_, i) => seeds.map((seed) => seed[i]));
  const each = (reduce) => values.map((some) => (some.includes(null) ? null : reduce(some)));
  return [steps, each((some) => some.reduce((a, b) => a + b, 0) / some.length), each((some) => Math.min(...some)), each((some) => Math.max(...some))];
}

/** What a colour of the style sheet, such as var(--blue), is now, for a canvas. */
function colourIn(place, colour, opacity = 1) {
  place.style.color = colour;
  const found = getComputedStyle(place).color;
  place.style.color = "";
  return found.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
}

const digitsOf = (size) => (String(size).split(".")[1] ?? "").length;

/**
 * title    of the chart, and its name for screen readers
 * series   [{name, colour, dash, width, curve: {steps, seeds}}]
 * first    whether the first series is drawn above the others; else the last is
 * zero     whether the whole view begins at 0; else at the lowest value after the first tenth of the steps
 */
function chart({ title, series: given, zero, first = false }) {
  const series = first ? [...given].reverse() : given;
  const data = uPlot.join(series.map((one) => columnsOfCurve(one.curve)));
  const steps = data[0];
  const all = [steps[0], steps.at(-1) === steps[0] ? steps[0] + 1 : steps.at(-1)];
  const meanOf = (i) => data[1 + 3 * i];
  let plotted = null; // made once its width is known
  let view = all;

  const plot = make("div", {
    class: "plot", tabindex: 0, role: "group",
    "aria-label": `${title}, ${series.map((one) => one.name).join(", ")}. Left and right arrow read values, plus and minus zoom, Escape shows all steps.`,
  });
  const reset = make("button", { type: "button", class: "reset", disabled: true, click: () => zoom(all) }, "All steps");
  const readout = make("span", { class: "readout" });
  const spoken = make("span", { class: "hidden", "aria-live": "polite" }); // for keys alone: a pointer passes too many values
  const values = series.map(() => make("span", { class: "value" }));
  const entries = series.map((one, i) => {
    const swatch = make("svg", { width: 22, height: 10, "aria-hidden": "true" },
      make("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke: one.colour, "stroke-dasharray": one.dash, "stroke-width": 2.4 }));
    const button = make("button", { type: "button", "aria-pressed": "true", click: () => {
      const show = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(show));
      plotted?.batch(() => [1, 2, 3].forEach((column) => plotted.setSeries(column + 3 * i, { show })));
    } }, swatch, one.name);
    return make("li", {}, button, values[i]);
  });
  const legend = make("ul", { class: "legend" }, first ? entries.reverse() : entries);
  const figure = make("figure", { class: "chart" },
    make("figcaption", {}, make("strong", {}, title), readout, spoken, reset), plot, legend,
    make("p", { class: "hint" }, "Drag to zoom. Keys: ← → read values, + − zoom, Esc all steps."));

  const isWhole = () => view[0] <= all[0] && view[1] >= all[1];

  function zoom([from, to]) {
    const span = Math.min(Math.max(to - from, (all[1] - all[0]) / 200), all[1] - all[0]);
    const min = Math.min(Math.max(from, all[0]), all[1] - span);
    plotted?.setScale("x", { min, max: min + span });
  }

  /** Ends of the vertical axis: what is in view, with a margin. */
  function ends(self) {
    const from = !zero && isWhole() ? all[0] + (all[1] - all[0]) / 10 : view[0];
    const inView = self.series.flatMap((one, i) => (i && one.show ? data[i].filter((value, j) => known(value) && steps[j] >= from && steps[j] <= view[1]) : []));
    if (!inView.length) return [0, 1];
    const [low, high] = [Math.min(...inView), Math.max(...inView)];
    const pad = (high - low || Math.abs(high) || 1) * 0.05;
    return [zero && isWhole() ? 0 : low - pad, high + pad];
  }

  /** The values nearest to the cursor. */
  function read() {
    const at = plotted.cursor.idx;
    readout.textContent = known(at) ? `step ${whole(steps[at])}` : "";
    series.forEach((one, i) => {
      const near = known(at) ? steps.map((_, j) => j).filter((j) => known(meanOf(i)[j])).sort((a, b) => Math.abs(steps[a] - steps[at]) - Math.abs(steps[b] - steps[at]))[0] : null;
      values[i].textContent = known(near) ? fixed(meanOf(i)[near]) : "";
    });
  }

  function readNeighbour(direction) {
    const inView = steps.filter((step) => step >= view[0] && step <= view[1]);
    const at = inView.indexOf(steps[plotted.cursor.idx]);
    const next = inView.at(Math.min(Math.max(at < 0 && direction < 0 ? inView.length - 1 : at + direction, 0), inView.length - 1));
    plotted.setCursor({ left: plotted.valToPos(next, "x"), top: 0 });
    spoken.textContent = `${readout.textContent}: ${series.map((one, i) => `${one.name} ${values[i].textContent}`).join(", ")}`;
  }

  function scale(factor) {
    const centre = steps[plotted.cursor.idx] ?? (view[0] + view[1]) / 2;
    zoom(view.map((end) => centre + (end - centre) * factor));
  }

  plot.addEventListener("keydown", (event) => {
    const showAll = () => { plotted.setCursor({ left: -10, top: -10 }); zoom(all); };
    const actions = {
      ArrowLeft: () => readNeighbour(-1), ArrowRight: () => readNeighbour(1),
      "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2), Escape: showAll, 0: showAll, Home: showAll,
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key] || !plotted) return;
    event.preventDefault();
    actions[event.key]();
  });

  const colour = (name, opacity) => () => colourIn(plot, name, opacity);
  const axis = { stroke: colour("var(--muted)"), font: "11px system-ui, sans-serif", labelFont: "11px system-ui, sans-serif", ticks: { stroke: colour("var(--muted)"), width: 1, size: 4 } };
  const options = {
    height: 240,
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, dist: 6 } },
    scales: { x: { time: false, range: (self, min, max) => (view = min === max ? all : [min, max]) }, y: { range: ends } },
    axes: [
      { ...axis, label: "optimiser step", labelSize: 16, labelGap: 0, size: 26, gap: 3, space: 70, grid: { show: false }, values: (self, found) => found.map(whole) },
      { ...axis, size: 50, gap: 3, grid: { stroke: colour("var(--rule)"), width: 0.7 }, values: (self, found, _, __, size) => found.map((value) => value.toFixed(digitsOf(size))) },
    ],
    series: [{}, ...series.flatMap((one) => [
      { stroke: colour(one.colour), width: one.width ?? 1.6, dash: one.dash?.split(" ").map(Number), points: { show: false } },
      { points: { show: false } }, { points: { show: false } },
    ])],
    bands: series.flatMap((one, i) => (one.curve.seeds.length > 1 ? [{ series: [3 + 3 * i, 2 + 3 * i], fill: colour(one.colour, 0.2) }] : [])),
    hooks: { setCursor: [read], setScale: [() => { reset.disabled = isWhole(); }] },
  };
  new ResizeObserver(() => {
    const width = plot.clientWidth;
    if (!width || width === plotted?.width) return;
    if (plotted) plotted.setSize({ width, height: options.height });
    else {
      plotted = plot.uplot = new uPlot({ ...options, width }, data, plot);
      plotted.root.setAttribute("aria-hidden", "true");
    }
  }).observe(plot);
  return figure;
}

/** A canvas keeps its colours, so that charts are drawn again where those of the page change. */
function redrawCharts() {
  for (const plot of document.querySelectorAll(".plot")) plot.uplot?.redraw(false);
}
document.addEventListener("state", redrawCharts);
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", redrawCharts);
