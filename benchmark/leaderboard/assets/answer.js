// The answer in words: which rows are first, and what must be said about it.
"use strict";

const words = (lines) => listed(lines.map((line) => line.label));

function sentenceOf(ranking) {
  const [best, ...others] = ranking.lines.filter((line) => known(line.mean));
  const mean = ` ${board.metrics[ranking.metric].label} ${fixed(best.mean)}${known(best.low) ? ` (${span(best)})` : ""}`;
  const untested = others.filter((line) => !known(line.rank));
  if (!known(best.rank)) {
    const why = others.length > untested.length ? "It was not tested against the others." : "Rows are not tested against each other here.";
    return [make("strong", {}, best.label), ` has the best mean,${mean}. ${why}`];
  }
  const tied = others.filter((line) => line.rank === best.rank);
  const said = tied.length ? `. Not significantly different from it: ${words(tied)}.` : others.length > untested.length ? ", significantly better than every other row that was tested." : ".";
  return [make("strong", {}, best.label), ` comes first,${mean}`, said, untested.length ? ` Not tested: ${words(untested)}.` : ""];
}

function answerOf({ place, ranking }) {
  const metric = board.metrics[ranking.metric];
  return [
    make("h2", { id: "ranking", tabindex: -1 }, `${metric.label[0].toUpperCase()}${metric.label.slice(1)} on ${place.dataset}, protocol ${place.protocol}, variant ${place.variant}`),
    make("p", { class: "answer" }, sentenceOf(ranking)),
    make("p", { class: "about" }, `${board.selections[ranking.selection]}${ranking.reported ? ", as the protocol reports" : ""}; ${place.about.join(", ")}. ${place.protocol_note} ${metric.higher ? "Higher" : "Lower"} is better.`),
    place.warning && ranking.metric === "auc" ? make("p", { class: "warning" }, place.warning) : null,
    place.failures ? make("p", { class: "warning" }, place.failures) : null,
  ].filter(Boolean);
}
