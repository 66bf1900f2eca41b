// The leaderboard: what to choose, the answer, its ranking, and what can be opened below.
"use strict";

/** A part of the page that is made again only where what it is made of has changed: focus and zoom stay. */
function part(keyOf, makeOf, attributes = {}) {
  const holder = make("div", attributes);
  let key = null;
  holder.show = (view) => {
    const next = JSON.stringify(keyOf(view));
    if (next === key) return;
    key = next;
    holder.replaceChildren(...[makeOf(view)].flat());
  };
  return holder;
}

const identity = ({ ranking }) => [placeKey(ranking), ranking.selection, ranking.metric];

/** The selects; each has what goes with the choices in front of it. */
function choicesOf() {
  const selects = [...Object.entries(PLACE), ["metric", "Metric"], ["selection", "Checkpoint"]].map(([key, label]) => {
    const select = make("select", { id: `choose-${key}`, change: () => choose(key, select.value) });
    return make("label", {}, label, select);
  });
  const search = make("input", { id: "search", type: "search", placeholder: "model, data set, …", input: () => change({ q: search.value }, { entry: false }) });
  const form = make("form", { class: "choices", role: "search", "aria-label": "choose a ranking", submit: (event) => event.preventDefault() }, selects, make("label", {}, "Search", search));
  form.show = (view) => {
    if (document.activeElement !== search) search.value = state.get("q") ?? "";
    const places = Object.values(board.places);
    const of = (place) => rankingsOf(place);
    const now = view ? { ...view.place, metric: view.ranking.metric, selection: view.ranking.selection } : {};
    const values = {
      dataset: places.map((place) => place.dataset),
      protocol: places.filter((place) => !view || place.dataset === now.dataset).map((place) => place.protocol),
      variant: places.filter((place) => !view || (place.dataset === now.dataset && place.protocol === now.protocol)).map((place) => place.variant),
      metric: view ? of(view.place).map((one) => one.metric) : Object.keys(board.metrics),
      selection: view ? of(view.place).filter((one) => one.metric === now.metric).map((one) => one.selection) : Object.keys(board.selections),
    };
    const names = { metric: (value) => board.metrics[value].label, selection: (value) => board.selections[value] };
    for (const [key, found] of Object.entries(values)) {
      const options = [...new Set(found)].map((value) => make("option", { value, selected: value === now[key] }, names[key]?.(value) ?? value));
      document.getElementById(`choose-${key}`).replaceChildren(...(view ? [] : [make("option", { value: "" }, "–")]), ...options);
    }
  };
  return form;
}

function nothingOf() {
  const wanted = ["dataset", "protocol", "variant", "metric", "selection"].filter((key) => state.get(key)).map((key) => state.get(key));
  return make("p", { class: "nothing" }, `Nothing matches ${wanted.join(", ")}. `,
    make("button", { type: "button", click: () => { change({ dataset: null, protocol: null, variant: null, metric: null, selection: null }); document.getElementById("ranking").focus(); } }, "Show the first ranking"));
}

const NO_RUNS = "make reproduce-table4 DATASETS=tafeng\n.venv/bin/dien-bench leaderboard add runs\nmake leaderboard";

function showBoard(place) {
  if (!board.rankings.length) {
    place.append(make("h1", {}, "Leaderboard"), make("p", {}, "No run is recorded yet. Train some rows, then add them:"), commandBox(NO_RUNS),
      make("p", {}, "The first command needs nothing but Python and its package index, and takes some minutes."));
    return;
  }
  const study = shown.kind === "study";
  const choices = choicesOf();
  const search = part(() => state.get("q"), () => searchOf(state.get("q") ?? ""), { "aria-live": "polite" });
  const answer = part((view) => view && identity(view), (view) => (view ? answerOf(view) : nothingOf()));
  const table = part((view) => [identity(view), view.sort], tableOf);
  const rest = [
    table,
    part((view) => [identity(view), view.compared], compareOf),
    ...[
      ["scatter", "What it costs: against parameters and seconds", (view) => scatterOf(view), () => state.get("x")],
      ["curves", "Learning curves of all rows", (view) => curvesOf(view.ranking.lines), () => state.get("curve")],
      ...(study ? [] : [["all", "All data sets and protocols at a glance", (view) => overviewOf(view), () => null]]),
    ].map(([name, title, makeOf, more]) => part((view) => [identity(view), more()], (view) => fold(name, title, () => makeOf(view)))),
  ];
  function follow() {
    const view = viewOf();
    for (const one of [choices, search, answer]) one.show(view);
    for (const one of rest) {
      one.hidden = !view;
      if (view) one.show(view);
    }
    if (view) table.firstChild.follow(view);
  }
  const runs = `${count(board.runs, "run")} of ${count(Object.keys(board.rows).length, "row")}`;
  place.append(...(study ? [make("h2", {}, "The runs behind it")] : [make("h1", {}, "Leaderboard")]),
    make("p", { class: "lead" }, study ? `${runs}: rows with options, and the rows that they change.` : [`${runs}. Everything as `, make("a", { href: "leaderboard.csv", download: true }, "CSV"), " and ", make("a", { href: "leaderboard.json", download: true }, "JSON"), ". Open a row for its seeds, settings and curves."]),
    choices, search, answer, ...rest,
    ...(board.probes.length ? [fold("probes", "Probes: what rules reach without a model", probesOf)] : []),
    fold("notes", "How to read the ranking", () => make("ul", { class: "said" }, board.notes.map((note) => make("li", {}, note)))));
  follow();
  place.querySelector("tr.row.opened")?.scrollIntoView({ block: "nearest", behavior: "instant" });
  document.addEventListener("state", follow);
  matchMedia("(max-width: 40rem)").addEventListener("change", follow);
}

function probesOf() {
  return [make("p", { class: "about" }, board.probes_note), ...board.probes.map((part) => [make("h3", {}, part.heading), make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `probes on ${part.heading}` },
      make("table", {}, make("thead", {}, make("tr", {}, part.header.map((name, j) => make("th", { scope: "col", class: j ? "number" : null }, name)))),
        make("tbody", {}, part.rows.map((row, i) => make("tr", {}, row.map((cell, j) =>
          make(j ? "td" : "th", { class: j ? "number" : null, scope: j ? null : "row" },
            part.bold.some(([a, b]) => a === i && b === j) ? make("strong", {}, cell) : cell)))))))]).flat()];
}

if (board) showBoard(document.getElementById("board"));
if (shown.kind === "figure3") showEvolution(document.getElementById("board"), shown.figures);
