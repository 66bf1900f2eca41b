// What the address asks for: one ranking of the board. What it leaves out is that of the first place, and as reported.
"use strict";

const shown = JSON.parse(document.getElementById("data").textContent);
const board = shown.board;
const PLACE = { dataset: "Data set", protocol: "Protocol", variant: "Variant" };
const placeKey = (one) => [one.dataset, one.protocol, one.variant].join("/");

/** The places that have the values of a state, as far as it has some; the board's first one in front. */
function placesOf(parameters) {
  const found = Object.values(board.places).filter((place) => Object.keys(PLACE).every((key) => !parameters.get(key) || place[key] === parameters.get(key)));
  const first = own(board.places, board.first);
  return found.includes(first) ? [first, ...found.filter((place) => place !== first)] : found;
}

const rankingsOf = (place) => board.rankings.filter((ranking) => placeKey(ranking) === placeKey(place));

/** The ranking that a state names, its place and lines in their order; null where there is none. */
function viewOf(parameters = state) {
  const place = placesOf(parameters)[0];
  if (!place) return null;
  const metric = parameters.get("metric") ?? "auc";
  const of = rankingsOf(place).filter((ranking) => ranking.metric === metric);
  const selection = parameters.get("selection");
  const ranking = selection ? of.find((one) => one.selection === selection) : of.find((one) => one.reported) ?? of[0];
  if (!ranking) return null;
  const named = (key) => parameters.getAll(key).filter((model) => ranking.lines.some((line) => line.model === model));
  return { place, ranking, rows: named("row"), compared: named("compare").slice(0, 2), sort: parameters.get("sort") ?? "rank" };
}

/** Choose one value and keep the others as far as the board has a ranking of all of them. */
function choose(key, value) {
  const now = viewOf();
  const kept = now ? { dataset: now.place.dataset, protocol: now.place.protocol, variant: now.place.variant, metric: state.get("metric"), selection: state.get("selection") } : {};
  const next = { ...kept, [key]: value };
  for (const dropped of [[], ["selection"], ["metric", "selection"], ["variant"], ["protocol"], ["protocol", "variant"], ["dataset", "protocol", "variant"]]) {
    const values = { ...next, ...Object.fromEntries(dropped.filter((one) => one !== key).map((one) => [one, null])) };
    if (dropped.includes("protocol") || dropped.includes("variant")) Object.assign(values, key === "metric" || key === "selection" ? {} : { metric: null, selection: null });
    if (viewOf(changed(values))) return change(values);
  }
  return undefined;
}
