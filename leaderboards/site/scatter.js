// What a metric costs: means and intervals against parameters or seconds of training.
"use strict";

const COSTS = { parameters: "parameters", training_seconds: "seconds of training" };

/** Heights of labels at least 14 apart, as near as can be to where their points are. */
function spread(heights, least, most) {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  order.forEach((i, k) => { placed[i] = Math.max(heights[i], k ? placed[order[k - 1]] + 14 : least); });
  order.reverse().forEach((i, k) => { placed[i] = Math.min(placed[i], k ? placed[order[k - 1]] - 14 : most); });
  return placed;
}

function scatterOf({ ranking }) {
  const cost = own(COSTS, state.get("x") ?? "") ? state.get("x") : "parameters";
  const metric = board.metrics[ranking.metric].label;
  const lines = ranking.lines.filter((line) => known(line.mean) && rowOf(line)[cost] > 0);
  const select = make("select", { id: "cost", change: () => { change({ x: select.value }); document.getElementById("cost").focus(); } },
    Object.entries(COSTS).map(([value, name]) => make("option", { value, selected: value === cost }, name)));
  const place = make("div", { class: "scatter" });
  const readout = make("p", { class: "readout" }, "Point at a row, or go to it by Tab.");
  const says = (line) => `${line.label}: ${metric} ${fixed(line.mean)}${known(line.low) ? `, ${span(line)}` : ""}; ${whole(rowOf(line)[cost])} ${COSTS[cost]}`;

  function draw() {
    const width = place.clientWidth;
    const height = 300;
    const right = Math.min(190, 0.42 * width);
    const box = { left: 52, right: width - right, top: 10, bottom: height - 38 };
    const costs = lines.map((line) => rowOf(line)[cost]);
    const ends = lines.flatMap((line) => [line.low ?? line.mean, line.high ?? line.mean]);
    const range = (values) => { const pad = (Math.max(...values) - Math.min(...values) || Math.abs(values[0]) || 1) * 0.08; return [Math.min(...values) - pad, Math.max(...values) + pad]; };
    const [x0, x1] = range(costs);
    const [y0, y1] = range(ends);
    const x = (value) => box.left + ((value - x0) / (x1 - x0)) * (box.right - box.left);
    const y = (value) => box.bottom - ((value - y0) / (y1 - y0)) * (box.bottom - box.top);
    const across = ticks(y0, y1, 5);
    const along = ticks(x0, x1, width < 500 ? 2 : 5);
    const labels = spread(lines.map((line) => y(line.mean)), box.top + 6, box.bottom);
    const styles = stylesOf(lines.map((line) => line.model));
    place.replaceChildren(make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${metric} against ${COSTS[cost]}` },
      across.values.map((value) => [make("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }), make("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, minus(value.toFixed(across.digits)))]).flat(),
      along.values.map((value) => [make("line", { class: "grid", x1: x(value), x2: x(value), y1: box.top, y2: box.bottom }), make("text", { x: x(value), y: box.bottom + 15, "text-anchor": "middle" }, whole(value))]).flat(),
      make("text", { x: (box.left + box.right) / 2, y: height - 5, "text-anchor": "middle" }, COSTS[cost]),
      lines.map((line, i) => make("g", { class: "point", tabindex: 0, role: "img", "aria-label": says(line), style: `color: ${styles[i][0]}`, pointerenter: () => { readout.textContent = says(line); }, focus: () => { readout.textContent = says(line); } },
        make("line", { class: "lead", x1: x(costs[i]), y1: y(line.mean), x2: box.right + 8, y2: labels[i] }),
        known(line.low) ? make("line", { class: "range", x1: x(costs[i]), x2: x(costs[i]), y1: y(line.low), y2: y(line.high) }) : null,
        make("circle", { cx: x(costs[i]), cy: y(line.mean), r: 5 }),
        make("text", { x: box.right + 12, y: labels[i] + 4 }, line.label)))));
  }
  let width = 0;
  new ResizeObserver(() => { if (place.clientWidth && place.clientWidth !== width) { width = place.clientWidth; draw(); } }).observe(place);
  return [make("label", { class: "choice" }, `${metric} against `, select), place, readout,
    cost === "training_seconds" ? make("p", { class: "hint" }, "Seconds of a row's fastest seed, evaluations left out, on the machine that it was trained on; open a row for that, and for every seed.") : null].filter(Boolean);
}
