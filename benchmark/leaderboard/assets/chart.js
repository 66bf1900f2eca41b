// A chart of learning curves: the mean of the seeds as a line, lowest to highest as a band; zoom by drag or by key.
"use strict";

/** An element with attributes and children; strings become text, never markup. */
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text", "clipPath", "defs"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Mean, lowest and highest of the seeds at each step; null where a seed has no value. */
function bandOf({ steps, seeds }) {
  return steps.map((step, i) => {
    const values = seeds.map((seed) => seed[i]);
    if (values.includes(null)) return { step, mean: null };
    return { step, mean: values.reduce((a, b) => a + b, 0) / values.length, low: Math.min(...values), high: Math.max(...values) };
  });
}

/** Round numbers that divide [low, high] into about `count` parts. */
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * size >= raw) * size;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (step / size === 2.5 ? 1 : 0)) };
}

let charts = 0;

/**
 * title    of the chart, and its name for screen readers
 * series   [{name, colour, dash, width, curve: {steps, seeds}}]
 * zero     whether the whole view begins at 0; else at the lowest value after the first tenth of the steps
 */
function chart({ title, series, zero }) {
  const drawn = series.map((one) => ({ ...one, band: bandOf(one.curve), shown: true }));
  const all = [Math.min(...drawn.map((one) => one.band[0].step)), Math.max(...drawn.map((one) => one.band.at(-1).step))];
  if (all[0] === all[1]) all[1] += 1;
  const margin = { left: 46, right: 10, top: 8, bottom: 34 };
  const height = 240;
  const clip = `clip-${++charts}`;
  let view = [...all];
  let width = 0;
  let cursor = null; // a step
  let dragged = null; // [from, to] in pixels

  const plot = make("div", {
    class: "plot", tabindex: 0, role: "group",
    "aria-label": `${title}, ${drawn.map((one) => one.name).join(", ")}. Left and right arrow read values, plus and minus zoom, Escape shows all steps.`,
  });
  const reset = make("button", { type: "button", class: "reset", disabled: true, click: () => zoom(all) }, "All steps");
  const readout = make("span", { class: "readout" });
  const spoken = make("span", { class: "hidden", "aria-live": "polite" }); // for keys alone: a pointer passes too many values
  const legend = make("ul", { class: "legend" });
  const figure = make("figure", { class: "chart" },
    make("figcaption", {}, make("strong", {}, title), readout, spoken, reset), plot, legend,
    make("p", { class: "hint" }, "Drag to zoom. Keys: ← → read values, + − zoom, Esc all steps."));

  const x = (step) => margin.left + ((step - view[0]) / (view[1] - view[0])) * (width - margin.left - margin.right);
  const stepAt = (pixel) => view[0] + ((pixel - margin.left) / (width - margin.left - margin.right)) * (view[1] - view[0]);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function zoom([from, to]) {
    const least = (all[1] - all[0]) / 200;
    const span = clamp(to - from, least, all[1] - all[0]);
    const start = clamp(from, all[0], all[1] - span);
    view = [start, start + span];
    reset.disabled = view[0] === all[0] && view[1] === all[1];
    draw();
  }

  /** Ends of the vertical axis: what is in view, with a margin. */
  function ends(visible) {
    const whole = reset.disabled;
    const late = !zero && whole ? all[0] + (all[1] - all[0]) / 10 : view[0];
    const points = visible.flatMap((one) => one.band.filter((p) => p.mean !== null && p.step >= late && p.step <= view[1]));
    if (!points.length) return [0, 1];
    let low = Math.min(...points.map((p) => p.low));
    const high = Math.max(...points.map((p) => p.high));
    if (zero && whole) low = 0;
    const pad = (high - low || Math.abs(high) || 1) * 0.05;
    return [zero && whole ? 0 : low - pad, high + pad];
  }

  function path(points, y) {
    let text = "";
    let open = false;
    for (const p of points) {
      if (p.mean === null) { open = false; continue; }
      text += `${open ? "L" : "M"}${x(p.step).toFixed(1)} ${y(p.mean).toFixed(1)}`;
      open = true;
    }
    return text;
  }

  function area(points, y) {
    const kept = points.filter((p) => p.mean !== null);
    const there = kept.map((p) => `${x(p.step).toFixed(1)} ${y(p.high).toFixed(1)}`);
    const back = kept.map((p) => `${x(p.step).toFixed(1)} ${y(p.low).toFixed(1)}`).reverse();
    return `M${[...there, ...back].join("L")}Z`;
  }

  function draw() {
    width = plot.clientWidth || 520;
    const visible = drawn.filter((one) => one.shown);
    const [low, high] = ends(visible);
    const bottom = height - margin.bottom;
    const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - margin.top);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
    svg.append(make("defs", {}, make("clipPath", { id: clip },
      make("rect", { x: margin.left, y: margin.top, width: Math.max(0, width - margin.left - margin.right), height: bottom - margin.top }))));
    const across = ticks(low, high, 5);
    for (const value of across.values) {
      svg.append(make("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(value), y2: y(value) }),
        make("text", { x: margin.left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(across.digits)));
    }
    const along = ticks(view[0], view[1], width < 420 ? 4 : 6);
    for (const step of along.values) {
      svg.append(make("line", { class: "tick", x1: x(step), x2: x(step), y1: bottom, y2: bottom + 4 }),
        make("text", { x: x(step), y: bottom + 16, "text-anchor": "middle" }, Math.round(step).toLocaleString("en")));
    }
    svg.append(make("line", { class: "axis", x1: margin.left, x2: width - margin.right, y1: bottom, y2: bottom }),
      make("text", { x: (margin.left + width - margin.right) / 2, y: height - 4, "text-anchor": "middle" }, "optimiser step"));
    const inside = make("g", { "clip-path": `url(#${clip})` });
    for (const one of visible) {
      if (one.curve.seeds.length > 1) inside.append(make("path", { d: area(one.band, y), fill: one.colour, class: "band" }));
      inside.append(make("path", { d: path(one.band, y), stroke: one.colour, "stroke-dasharray": one.dash, "stroke-width": one.width ?? 1.6, class: "curve" }));
    }
    if (cursor !== null) inside.append(make("line", { class: "cursor", x1: x(cursor), x2: x(cursor), y1: margin.top, y2: bottom }));
    if (dragged) inside.append(make("rect", { class: "drag", x: Math.min(...dragged), width: Math.abs(dragged[1] - dragged[0]), y: margin.top, height: bottom - margin.top }));
    svg.append(inside);
    plot.replaceChildren(svg);
  }

  function explain() {
    readout.textContent = cursor === null ? "" : `step ${Math.round(cursor).toLocaleString("en")}`;
    for (const one of drawn) {
      const point = cursor === null ? null : one.band.reduce((a, b) => (Math.abs(b.step - cursor) < Math.abs(a.step - cursor) ? b : a));
      one.value.textContent = point && point.mean !== null ? point.mean.toFixed(4) : "";
    }
  }

  function readAt(step) {
    const known = drawn[0].band.map((p) => p.step).filter((s) => s >= view[0] && s <= view[1]);
    cursor = known.length ? known.reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a)) : null;
    explain();
    draw();
  }

  function neighbour(direction) {
    const known = drawn[0].band.map((p) => p.step).filter((s) => s >= view[0] && s <= view[1]);
    const at = cursor === null ? (direction > 0 ? -1 : known.length) : known.indexOf(cursor);
    readAt(known[clamp(at + direction, 0, known.length - 1)]);
    spoken.textContent = `${readout.textContent}: ${drawn.map((one) => `${one.name} ${one.value.textContent}`).join(", ")}`;
  }

  function scale(factor) {
    const centre = cursor ?? (view[0] + view[1]) / 2;
    zoom([centre - (centre - view[0]) * factor, centre + (view[1] - centre) * factor]);
  }

  plot.addEventListener("keydown", (event) => {
    const actions = {
      ArrowLeft: () => neighbour(-1), ArrowRight: () => neighbour(1),
      "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2),
      Escape: () => { cursor = null; explain(); zoom(all); }, 0: () => zoom(all), Home: () => zoom(all),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  const pixel = (event) => clamp(event.clientX - plot.getBoundingClientRect().left, margin.left, width - margin.right);
  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    plot.setPointerCapture(event.pointerId);
    dragged = [pixel(event), pixel(event)];
  });
  plot.addEventListener("pointermove", (event) => {
    if (dragged) dragged[1] = pixel(event);
    readAt(stepAt(pixel(event)));
  });
  plot.addEventListener("pointerup", () => {
    const range = dragged && Math.abs(dragged[1] - dragged[0]) > 6 ? dragged.map(stepAt).sort((a, b) => a - b) : null;
    dragged = null;
    if (range) zoom(range);
    else draw();
  });
  plot.addEventListener("pointercancel", () => { dragged = null; draw(); });
  plot.addEventListener("pointerleave", () => { if (!dragged) { cursor = null; explain(); draw(); } });
  plot.addEventListener("dblclick", () => zoom(all));

  for (const one of drawn) {
    one.value = make("span", { class: "value" });
    const swatch = make("svg", { width: 22, height: 10, "aria-hidden": "true" },
      make("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke: one.colour, "stroke-dasharray": one.dash, "stroke-width": 2.4 }));
    const button = make("button", {
      type: "button", "aria-pressed": "true",
      click: () => { one.shown = !one.shown; button.setAttribute("aria-pressed", String(one.shown)); draw(); },
    }, swatch, one.name);
    legend.append(make("li", {}, button, one.value));
  }
  new ResizeObserver(() => { if (plot.clientWidth && plot.clientWidth !== width) draw(); }).observe(plot);
  return figure;
}
