"""The README's first sentences: each verdict that they can give, from made-up runs and probes."""

from pathlib import Path
from typing import Any

import pytest

from benchmark.analysis.comparison import Comparison
from benchmark.analysis.summary import Difference
from benchmark.leaderboard import findings as made
from benchmark.leaderboard.findings import catalogue_order, findings, lead_over_din
from benchmark.report.results import Result
from benchmark.report.table_sections import Shown


class Runs:
    """What a look-up of runs gives: their mean AUC, and whether there are any."""

    def __init__(self, auc: float | None) -> None:
        self.auc, self.records = auc, {} if auc is None else {0: None}

    def mean(self) -> float | None:
        return self.auc


def find_of(levels: dict[tuple[str, str], float]) -> Any:
    return lambda dataset, protocol, variant, model: Runs(levels.get((dataset, protocol)))


LEVELS = {
    ("sports", "arxiv-v1"): 0.911, ("sports", "aaai-2019"): 0.76, ("sports", "clean"): 0.748,
    ("beauty", "arxiv-v1"): 0.887, ("beauty", "aaai-2019"): 0.754, ("beauty", "clean"): 0.737,
}  # fmt: skip


def order(monkeypatch: pytest.MonkeyPatch, rules: dict[str, float], p: float | None, levels: Any = LEVELS) -> str:
    """The first paragraph where the rule reaches this in catalogue order and 0.5 else, and each gain has this p."""
    monkeypatch.setattr(made, "rule_auc", lambda _, data, protocol: rules.get(data) if protocol == "arxiv-v1" else 0.5)
    test = None if p is None else Comparison(0.1, 0.01, 100.0, p)
    monkeypatch.setattr(made, "gain_of", lambda pair: (pair[0].auc - pair[1].auc, 5, test))
    return catalogue_order({}, find_of(levels))


@pytest.mark.parametrize(
    ("rules", "p", "begins"),
    [
        ({"sports": 0.91, "beauty": 0.895}, 1e-9, "**Catalogue order explains** the AUC of 0.90"),
        ({"sports": 0.91, "beauty": 0.85}, 1e-9, "**Catalogue order explains** on Sports, and not on Beauty, the AUC"),
        ({"sports": 0.8, "beauty": 0.85}, 1e-9, "**Catalogue order does not explain** the AUC"),
        ({"sports": 0.91, "beauty": 0.91}, 0.04, "**Catalogue order may explain (not significant,"),  # 0.08 for two
        ({"sports": 0.91, "beauty": 0.91}, None, "**Catalogue order may explain (not significant, or not tested)**"),
        ({"sports": 0.91, "beauty": 0.85}, None, "**Catalogue order does not explain** on Beauty, and perhaps (not"),
    ],
)
def test_the_verdict_on_catalogue_order(
    monkeypatch: pytest.MonkeyPatch, rules: dict[str, float], p: float | None, begins: str
) -> None:
    text = order(monkeypatch, rules, p)
    assert text.startswith(begins)
    assert f"reaches {rules['sports']:.3f} on Sports and {rules['beauty']:.3f} on Beauty (DIEN: 0.911, 0.887)" in text
    assert "0.500 on Sports and 0.500 on Beauty (DIEN: 0.748, 0.737)" in text


def test_a_lower_auc_in_catalogue_order_explains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = LEVELS | {("sports", "arxiv-v1"): 0.7, ("beauty", "arxiv-v1"): 0.7}
    assert order(monkeypatch, {"sports": 0.91, "beauty": 0.91}, 1e-9, worse).startswith("**Catalogue order does not")


def test_without_probes_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert order(monkeypatch, {}, 1e-9) == ""


def shown(**tests: Difference | None) -> list[Shown]:
    results = [
        Result(dataset, "clean", [], {} if test is None else {("dien", "din"): test}, None, [])
        for dataset, test in tests.items()
    ]
    other = [Result("sports", "arxiv-v1", [], {("dien", "din"): difference_of(0.9, 0.0)}, None, [])]
    return [Shown("2", "arxiv-v1", "official", other, []), Shown("2", "clean", "official", results, [])]


def difference_of(gain: float, p: float) -> Difference:
    return Difference(Comparison(gain, 0.01, 100.0, p), p)


def test_the_lead_over_din_can_be_none() -> None:
    assert lead_over_din(shown(sports=difference_of(0.0047, 0.92), beauty=difference_of(0.0224, 0.0004))) == (
        "**In honest order**, DIEN's AUC is significantly higher than DIN's on Beauty (+0.022, p < 0.001) and "
        "not significantly different from DIN's on Sports (+0.005, p = 0.92)."
    )
    said = lead_over_din(shown(sports=difference_of(-0.02, 0.01), beauty=None))
    assert "not tested against DIN's on Beauty" in said
    assert "significantly lower than DIN's on Sports (-0.020, p = 0.01)" in said
    assert lead_over_din([]) == ""


def test_data_of_the_paper_that_were_not_run_are_named() -> None:
    lead = shown(sports=difference_of(0.0047, 0.92))
    assert "; Electronics and Books, its own, have not been run here." in findings(lead, {}, find_of({}))
    assert "; Books, its own, have" in findings(lead, {}, find_of({("electronics", "arxiv-v1"): 0.9}))
    everything = find_of({("electronics", "arxiv-v1"): 0.9, ("books", "aaai-2019"): 0.8})
    assert "not been run" not in findings(lead, {}, everything)


def test_the_readme_has_the_sentences() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
    assert "<!-- findings of leaderboards -->\n**" in text
