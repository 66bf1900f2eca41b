// What a row opens to: its seeds, curves and settings, and the command that trains it again.
"use strict";

function detailOf(line) {
  const row = rowOf(line);
  const series = (names) => names.filter((name) => row.curves[name]).map((name) => ({
    name: CURVES[name], curve: row.curves[name],
    colour: { loss: "var(--blue)", auxiliary_loss: "var(--red)", target_loss: "var(--grey)", test_auc: "var(--blue)" }[name],
    dash: name === "auxiliary_loss" ? "7 3" : null, width: name === "target_loss" ? 1 : 1.6,
  }));
  const losses = series(["loss", "auxiliary_loss", ...(row.curves.auxiliary_loss ? ["target_loss"] : [])]);
  const auc = series(["test_auc"]);
  const seeds = row.curves.loss?.seeds.length ?? 0;
  const drawn = seeds > 1 ? `mean of ${seeds} seeds, band: lowest to highest` : "1 seed";
  return make("div", { class: "inside" },
    seedTable(row),
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
    ["AUC last", (run) => fixed(run.last, 6)], ["GAUC", (run) => fixed(run.gauc)], ["log loss", (run) => fixed(run.logloss)], ["calibration", (run) => fixed(run.calibration)],
    ["best step", (run) => whole(run.best_step)], ["steps", (run) => whole(run.steps)], ["epochs", (run) => fixed(run.epochs, 2)],
    ["training s", (run) => fixed(run.train_seconds, 1)], ["of it evaluation s", (run) => fixed(run.evaluation_seconds, 1)], ["processor s", (run) => fixed(run.processor_seconds, 1)],
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
