// A ranking as a table: ties in one group, a row a model, which opens to its runs and can be ticked to be compared.
"use strict";

const SORTS = { // columns to sort by: name, value of a line, the least first
  rank: ["rank", (line, i) => i],
  parameters: ["parameters", (line) => rowOf(line).parameters],
  seconds: ["training s", (line) => rowOf(line).training_seconds],
};
const rowOf = (line) => board.rows[line.key];

/** The first line of a line's group: that of the highest rank number among those in front. */
function leaderOf(line, lines) {
  return known(line.rank) ? lines.find((other) => other.rank === line.rank) : null;
}

function rankCell(line, lines) {
  if (!known(line.rank)) return make("td", { class: "rank" }, make("span", { "aria-hidden": "true", title: "not tested" }, "–"), make("span", { class: "hidden" }, "not tested"));
  const leader = leaderOf(line, lines);
  const tied = lines.filter((other) => other.rank === line.rank).length > 1;
  const title = leader === line ? (tied ? "shared" : null) : `not significantly different from ${leader.label}`;
  return make("td", { class: "rank", title }, String(line.rank), tied ? make("span", { class: "mark" }, "=") : null, title ? make("span", { class: "hidden" }, ` ${title}`) : null);
}

/** A mark where a row was trained with other settings than the first one in the paper's order. */
function otherTraining(place, line) {
  const differ = own(place.other_training, line.model);
  if (!differ) return null;
  return make("small", { class: "differs" }, `‡ other ${differ.join(", ")}`);
}

function meanCell(line, seeds) {
  const done = (line.seeds.length === seeds ? `${seeds}` : `${line.seeds.length} of ${seeds}`) + (line.failed ? `, ${line.failed} failed` : "");
  return make("td", { class: "number" }, make("span", { class: "mean" }, fixed(line.mean)), " ",
    make("small", {}, known(line.std) ? make("span", { class: "wide" }, `± ${fixed(line.std)} `) : null, `(${done})`));
}

/** The lines in the order of the view, as groups that are drawn together. */
function groupsOf({ ranking, sort }) {
  const lines = [...ranking.lines];
  if (sort !== "rank" && own(SORTS, sort)) return [lines.sort((a, b) => SORTS[sort][1](a) - SORTS[sort][1](b))];
  const groups = [];
  for (const line of lines) {
    if (groups.length && known(line.rank) && groups.at(-1)[0].rank === line.rank) groups.at(-1).push(line);
    else groups.push([line]);
  }
  return groups;
}

function tableOf(view) {
  const { place, ranking } = view;
  const metric = board.metrics[ranking.metric];
  const probes = ranking.metric === "auc" ? place.probes : [];
  const rule = probes.find((probe) => probe.parameters === 0);
  const axis = axisOf(ranking, probes);
  const printed = ranking.metric === "auc" ? place.printed : {};
  const hasPrinted = ranking.lines.some((line) => known(own(printed, line.model)));
  const seeds = Math.max(...ranking.lines.map((line) => line.seeds.length + line.failed));
  const rows = [];

  const head = (key, attributes, ...content) => {
    if (!own(SORTS, key)) return make("th", { scope: "col", ...attributes }, ...content);
    return make("th", { scope: "col", ...attributes, "aria-sort": view.sort === key ? "ascending" : null },
      make("button", { type: "button", class: "sort", id: `sort-${key}`, click: () => { change({ sort: key === "rank" ? null : key }); document.getElementById(`sort-${key}`).focus(); } }, SORTS[key][0]));
  };
  const body = (line) => {
    const id = `detail-${rows.length}`;
    const inside = make("td");
    const detail = make("tr", { class: "detail", id, hidden: true }, inside);
    const tick = make("input", { type: "checkbox", "aria-label": `compare ${line.label}`, change: () => {
      const others = state.getAll("compare").filter((model) => model !== line.model && ranking.lines.some((one) => one.model === model));
      change({ compare: tick.checked ? [...others.slice(-1), line.model] : others });
    } });
    const button = make("button", { type: "button", class: "open", "aria-expanded": "false", "aria-controls": id }, line.label);
    const row = make("tr", { class: "row", "data-model": line.model },
      make("td", { class: "tick" }, tick), rankCell(line, ranking.lines), make("th", { scope: "row" }, button, otherTraining(place, line)), meanCell(line, seeds),
      make("td", { class: "plotted", title: known(line.low) ? span(line) : null }, intervalBar(line, axis, rule)),
      make("td", { class: "number wide" }, known(line.low) ? span(line) : ""),
      hasPrinted ? make("td", { class: "number wide" }, fixed(own(printed, line.model))) : null,
      make("td", { class: "number wide" }, whole(rowOf(line).parameters)), make("td", { class: "number wide" }, whole(rowOf(line).training_seconds)));
    row.addEventListener("click", (event) => {
      const selection = getSelection();
      const selecting = !selection.isCollapsed && row.contains(selection.anchorNode); // figures, to copy them
      if (event.target.closest(".tick") || (!event.target.closest("button") && selecting)) return;
      change({ row: detail.hidden ? [...state.getAll("row"), line.model] : state.getAll("row").filter((other) => other !== line.model) });
    });
    rows.push((now, columns) => {
      inside.colSpan = columns;
      const open = now.rows.includes(line.model);
      if (open && !inside.hasChildNodes()) inside.append(detailOf(line));
      detail.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
      row.classList.toggle("opened", open);
      tick.checked = now.compared.includes(line.model);
    });
    return [row, detail];
  };
  const probeRow = (probe) => make("tr", { class: "probe" }, make("td"), make("td"), make("th", { scope: "row" }, probe.label),
    make("td", { class: "number" }, make("span", { class: "mean" }, fixed(probe.mean)), " ", make("small", {}, `(${count(probe.parameters, "parameter")})`)),
    make("td", { class: "plotted" }, intervalBar(probe, axis, rule)), make("td", { class: "number wide" }, span(probe)),
    hasPrinted ? make("td", { class: "wide" }) : null, make("td", { class: "wide" }), make("td", { class: "wide" }));

  const table = make("table", { class: "ranking" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "tick" }, make("span", { class: "hidden" }, "compare")), head("rank", { class: "rank" }), head("model", {}, "model"),
      head("mean", { class: "number" }, metric.label, make("small", {}, make("span", { class: "wide" }, " ± sd"), " (seeds)")),
      head("interval", { class: "plotted" }, make("span", {}, known(ranking.lines[0].low) ? "95 % interval, seeds" : "seeds"), axisHead(axis)),
      head("numbers", { class: "number wide" }, "95 % interval"),
      hasPrinted ? head("printed", { class: "number wide" }, place.printed_name) : null,
      head("parameters", { class: "number wide" }), head("seconds", { class: "number wide" }))),
    groupsOf(view).map((group) => make("tbody", { class: group.length > 1 && view.sort === "rank" ? "tie" : null }, group.flatMap(body))),
    probes.length ? make("tbody", {}, probes.map(probeRow)) : null);
  table.follow = (now) => {
    const columns = [...table.tHead.rows[0].cells].filter((cell) => getComputedStyle(cell).display !== "none").length; // fewer in a narrow view
    rows.forEach((show) => show(now, columns));
  };
  return table;
}
