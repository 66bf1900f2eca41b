// The mean of a line, its 95 % interval and its seeds on the axis that all lines of a ranking share.
"use strict";

/** The axis of a ranking: `x` gives a value's place in per cent. A rule far from all rows would hide how they differ. */
function axisOf(ranking, probes) {
  const ends = ranking.lines.flatMap((line) => [line.low, line.high, ...line.values]).filter(known);
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  const near = probes.map((probe) => probe.mean).filter((mean) => Math.abs(mean - (least + most) / 2) < most - least);
  const low = Math.min(least, ...near);
  const size = Math.max(most, ...near) - low || 1;
  return { low, high: low + size, has: (value) => value >= low && value <= low + size, x: (value) => `${3 + (94 * (value - low)) / size}%` };
}

function intervalBar(line, axis, rule) {
  const middle = 9; // of the interval; the seeds lie below it
  const { x } = axis;
  const dots = (line.values ?? []).map((value) => make("circle", { class: "seed", cx: x(value), cy: middle + 9, r: 2 }));
  const whole = known(line.low) && axis.has(line.low) && axis.has(line.high);
  return make("svg", { class: "interval", height: 24, "aria-hidden": "true" },
    rule && axis.has(rule.mean) ? make("line", { class: "rule", x1: x(rule.mean), x2: x(rule.mean), y1: 0, y2: 24 }) : null,
    whole ? make("line", { class: "range", x1: x(line.low), x2: x(line.high), y1: middle, y2: middle }) : null,
    dots,
    known(line.mean) && axis.has(line.mean) ? make("circle", { class: "mean", cx: x(line.mean), cy: middle, r: 4 }) : null);
}

/** The head of the column: a few values of the axis. */
function axisHead(axis) {
  const { values, digits } = ticks(axis.low, axis.high, 3);
  return make("svg", { class: "interval", height: 14, "aria-hidden": "true" },
    values.map((value) => make("text", { x: axis.x(value), y: 11, "text-anchor": "middle" }, minus(value.toFixed(digits)))));
}
