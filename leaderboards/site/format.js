// Numbers as text, and how a model is drawn. All text goes through `make`, which makes no markup.
"use strict";

const STYLES = { // as in the figures of the board: a row has its colour everywhere
  "base-model": ["var(--grey)"], "wide-deep": ["var(--grey)", "6 3"], pnn: ["var(--pink)"], din: ["var(--yellow)"],
  "gru-attention": ["var(--green)", "6 3"], aigru: ["var(--sky)", "6 2 1 2"], agru: ["var(--blue)", "6 3"],
  augru: ["var(--blue)"], dien: ["var(--red)"],
};
const DASHES = [null, "6 3", "6 2 1 2", "1 3"]; // of rows that the paper lacks

const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined); // a row may be named "constructor"
const known = (value) => value !== null && value !== undefined;
const minus = (text) => text.replace("-", "−");
const fixed = (value, digits = 4) => (known(value) ? minus(value.toFixed(digits)) : "");
const signed = (value, digits = 4) => (known(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits) : "");
const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "");
const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
const chance = (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);
const span = (one) => `${fixed(one.low)} to ${fixed(one.high)}`;
const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

/** Colour and dashes of each model of a list. */
function stylesOf(models) {
  const others = models.filter((model) => !own(STYLES, model));
  return models.map((model) => own(STYLES, model) ?? ["var(--ink)", DASHES[others.indexOf(model) % DASHES.length]]);
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
