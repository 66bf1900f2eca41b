// Learning curves of several rows in one chart, one quantity at a time.
"use strict";

const CURVES = { test_auc: "test AUC", loss: "whole loss", auxiliary_loss: "auxiliary loss", target_loss: "target loss" };

function curveOf(line, name) {
  const { curves } = rowOf(line);
  return curves[name] ?? (name === "target_loss" ? curves.loss : undefined); // without an auxiliary loss they are one
}

/** A chart of one quantity, null where no line has it. */
function curveChart(lines, name) {
  const drawn = lines.filter((line) => curveOf(line, name));
  if (!drawn.length) return null;
  const styles = stylesOf(drawn.map((line) => line.model));
  const series = drawn.map((line, i) => ({ name: line.label, colour: styles[i][0], dash: styles[i][1], curve: curveOf(line, name) }));
  return chart({ title: `${CURVES[name][0].toUpperCase()}${CURVES[name].slice(1)}`, series, first: true, zero: name !== "test_auc" });
}

function curvesOf(lines) {
  const names = Object.keys(CURVES).filter((name) => lines.some((line) => curveOf(line, name)));
  if (!names.length) return [make("p", {}, "No curves are kept of these rows.")];
  const name = names.includes(state.get("curve")) ? state.get("curve") : names[0];
  const select = make("select", { id: "curve", change: () => { change({ curve: select.value }); document.getElementById("curve").focus(); } },
    names.map((value) => make("option", { value, selected: value === name }, CURVES[value])));
  return [make("label", { class: "choice" }, "Quantity ", select), curveChart(lines, name)];
}
