// All tables at a glance: a row a model, a column a data set and protocol.
"use strict";

/** An overview of the blocks of one variant; a heading leads to its table. */
function overviewOf(blocks) {
  const columns = new Map(); // data set and protocol -> the blocks that have it
  for (const block of blocks) {
    const name = JSON.stringify([block.dataset, block.protocol]);
    columns.set(name, [...(columns.get(name) ?? []), block]);
  }
  const sets = [...new Set(blocks.map((block) => block.dataset))];
  const keys = sets.flatMap((name) => [...columns.keys()].filter((key) => JSON.parse(key)[0] === name)); // a data set's together
  const labels = new Map();
  for (const block of blocks) for (const line of block.lines) labels.set(line.model, line.label);
  const order = [...Object.keys(STYLES), ...labels.keys()].filter((model, i, all) => labels.has(model) && all.indexOf(model) === i);
  const lineOf = (key, model) => columns.get(key).flatMap((block) => block.lines).find((line) => line.model === model && known(line.mean));
  const free = (key) => columns.get(key).flatMap((block) => block.probes).find((probe) => probe.parameters === 0);
  const cellOf = (key, model) => {
    const line = lineOf(key, model);
    if (!line) return make("td", { class: "number" });
    const standing = own(board.standing, line.key); // against the row of the highest mean
    const mark = own({ "not significantly different": "≈", "not tested": "?" }, standing);
    return make("td", { class: "number", title: known(line.std) ? `± ${fixed(line.std)} over ${count(line.seeds, "seed")}` : count(line.seeds, "seed") },
      make(standing === "best" ? "strong" : "span", {}, fixed(line.mean)),
      mark ? make("abbr", { class: "mark", title: `${standing}, against the best` }, mark, make("span", { class: "hidden" }, ` ${standing}`)) : null);
  };
  const datasets = keys.map((key) => JSON.parse(key)[0]);
  const first = (name, i) => datasets.indexOf(name) === i;
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `all tables of variant ${blocks[0].variant}` },
    make("table", { class: "overview" },
      make("caption", {}, `Mean test AUC, variant ${blocks[0].variant}`, make("small", {}, " A heading leads to its tables. In bold: significantly different from every other row; ≈ not significantly different from the highest, ? not tested against it.")),
      make("thead", {},
        make("tr", {}, make("td"), datasets.filter(first).map((name) => make("th", { scope: "colgroup", colspan: datasets.filter((other) => other === name).length }, make("span", { class: "group" }, name)))),
        make("tr", {}, make("th", { scope: "col" }, "model"), keys.map((key) => make("th", { scope: "col", class: "number" },
          make("button", { type: "button", class: "link", click: () => change({ at: placeOf(columns.get(key)[0]) }), "aria-label": `to the table on ${JSON.parse(key).join(", protocol ")}` }, JSON.parse(key)[1]))))),
      make("tbody", {}, order.map((model) => make("tr", {}, make("th", { scope: "row" }, labels.get(model)), keys.map((key) => cellOf(key, model)))),
        keys.some(free) ? make("tr", { class: "probe" }, make("th", { scope: "row" }, "probe: a rule without parameters"), keys.map((key) => make("td", { class: "number" }, fixed(free(key)?.mean)))) : null)));
}
