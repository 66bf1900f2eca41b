// Rows of all rankings by the words of a search; each result is a link to its ranking.
"use strict";

const MOST_RESULTS = 20;

function resultsOf(query) {
  const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
  const rankings = board.rankings.filter((ranking) => ranking.reported && ranking.metric === "auc");
  return rankings.flatMap((ranking) => ranking.lines.map((line) => ({ ranking, line })))
    .filter(({ ranking, line }) => {
      const text = [line.label, line.model, ranking.dataset, ranking.protocol, ranking.variant].join(" ").toLowerCase();
      return wanted.every((word) => text.includes(word));
    });
}

function searchOf(query) {
  if (!query.trim()) return [];
  const found = resultsOf(query);
  if (!found.length) {
    return [make("p", { class: "nothing" }, `Nothing matches “${query}”. `,
      make("button", { type: "button", click: () => { change({ q: null }); document.getElementById("search").focus(); } }, "Clear the search"))];
  }
  const link = ({ ranking, line }) => {
    const { dataset, protocol, variant } = ranking;
    const next = changed({ dataset, protocol, variant, metric: null, selection: null, q: null, row: [line.model] });
    return make("li", {}, make("a", { href: hashOf(next) }, line.label), ` on ${dataset}, ${protocol}, ${variant}: ${fixed(line.mean)}${known(line.rank) ? `, rank ${line.rank}` : ""}`);
  };
  return [make("p", { class: "found" }, `${count(found.length, "row")} ${found.length === 1 ? "matches" : "match"} “${query}”. `, found.length > MOST_RESULTS ? `The first ${MOST_RESULTS}:` : ""),
    make("ul", { class: "results" }, found.slice(0, MOST_RESULTS).map(link))];
}
