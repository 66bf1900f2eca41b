// Two ticked rows: their difference, its interval and p, and both curves.
"use strict";

/** What the test says of two lines of a ranking, the better one first. */
function testOf(ranking, first, second) {
  const pair = ranking.pairs.find((one) => one.first === first && one.second === second);
  const metric = board.metrics[ranking.metric].label;
  const [a, b] = [ranking.lines[first], ranking.lines[second]];
  const title = make("p", { class: "difference" }, make("strong", {}, `${a.label} − ${b.label}`), ` ${signed(a.mean - b.mean)} ${metric}`);
  if (!pair) return [title, make("p", {}, "Not tested: that takes at least two seeds of both rows, a metric of each test user, and the same training settings (‡).")];
  const different = pair.corrected < 0.05;
  return [title, make("p", {}, `95 % interval ${signed(pair.low)} to ${signed(pair.high)}. ${chance(pair.corrected)} after Holm's correction for the ${count(ranking.pairs.length, "pair")} of this ranking; of this pair alone ${chance(pair.p)}. `,
    make("strong", {}, different ? "Significantly different." : "Not significantly different."))];
}

function compareOf({ ranking, compared }) {
  if (compared.length < 2) {
    return make("p", { class: "hint", id: "compare" }, compared.length ? "Tick one more row to compare the two." : "Tick two rows to compare them.");
  }
  const [first, second] = compared.map((model) => ranking.lines.findIndex((line) => line.model === model)).sort((a, b) => a - b);
  const lines = [ranking.lines[first], ranking.lines[second]];
  const axis = axisOf({ lines }, []);
  return make("section", { id: "compare", class: "compare", "aria-label": "comparison", "aria-live": "polite" },
    make("div", { class: "head" }, make("h3", {}, `${lines[0].label} and ${lines[1].label}`),
      make("button", { type: "button", click: () => { change({ compare: [] }); document.querySelector(".ranking input").focus(); } }, "Untick both")),
    testOf(ranking, first, second),
    make("div", { class: "beside" }, make("span"), axisHead(axis), lines.map((line) => [make("span", {}, line.label), intervalBar(line, axis)]).flat()),
    make("div", { class: "charts" }, curveChart(lines, "test_auc"), curveChart(lines, "target_loss")));
}
