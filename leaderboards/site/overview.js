// All rankings of a variant and metric at a glance: a row a model, a column a data set and protocol.
"use strict";

function overviewOf({ place, ranking }) {
  const shownHere = board.rankings.filter((one) => one.reported && one.metric === ranking.metric && one.variant === place.variant);
  const datasets = shownHere.map((one) => one.dataset);
  const sets = [...new Set(datasets)];
  const lines = shownHere.flatMap((one) => one.lines);
  const models = [...new Map([...Object.keys(STYLES).map((model) => lines.find((line) => line.model === model)), ...lines].filter(Boolean).map((line) => [line.model, line.label]))];
  const cellOf = (one, model) => {
    const line = one.lines.find((other) => other.model === model);
    const said = line && (known(line.rank) ? `rank ${line.rank}` : "not tested");
    return make("td", { class: "number", title: said }, line ? [make(line.rank === 1 ? "strong" : "span", {}, fixed(line.mean)), make("span", { class: "hidden" }, ` ${said}`)] : []);
  };
  const column = (one) => make("th", { scope: "col", class: "number" },
    make("button", { type: "button", class: "link", "aria-label": `to the ranking on ${one.dataset}, protocol ${one.protocol}`, click: () => {
      change({ dataset: one.dataset, protocol: one.protocol, variant: one.variant, selection: null });
      document.getElementById("ranking").focus();
    } }, one.protocol));
  return [make("p", { class: "about" }, `Mean ${board.metrics[ranking.metric].label}, variant ${place.variant}, as each protocol reports. In bold: rank 1. A heading leads to its ranking.`),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "all rankings" },
      make("table", { class: "overview" },
        make("thead", {},
          make("tr", {}, make("td"), sets.map((name) => make("th", { scope: "colgroup", colspan: datasets.filter((other) => other === name).length }, make("span", { class: "group" }, name)))),
          make("tr", {}, make("th", { scope: "col" }, "model"), shownHere.map(column))),
        make("tbody", {}, models.map(([model, label]) => make("tr", {}, make("th", { scope: "row" }, label), shownHere.map((one) => cellOf(one, model)))))))];
}
