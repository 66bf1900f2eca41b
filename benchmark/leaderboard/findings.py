"""The README's first sentences: whether catalogue order explains the printed AUC, and what is left of DIEN's lead."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmark.analysis.comparison import holm
from benchmark.analysis.summary import DIFFERENT, SIGNIFICANT, Difference, relation_of
from benchmark.leaderboard.study_runs import DATASETS, Find, Measured, gain_of, rule_auc
from benchmark.records import paper
from benchmark.report.table_sections import Shown

CATALOGUE, BY_TIME, CLEAN, VARIANT = "arxiv-v1", "aaai-2019", "clean", "official"
NEAR = 0.01  # a rule no further below the printed AUC reaches as much as the paper's model


class Orders(NamedTuple):
    """AUC of the rule and of DIEN on one data set, in catalogue order and under `clean`; and what order is worth."""

    dataset: str
    rule: float
    dien: float
    clean_rule: float
    clean_dien: float
    gain: float  # of DIEN, catalogue order minus by time
    p: float | None  # of that gain, not corrected; None where it was not tested


def findings(shown: Sequence[Shown], probes: Measured, find: Find) -> str:
    """Return two paragraphs of Markdown; a part without runs or probes is left out."""
    lead = " ".join(filter(None, (lead_over_din(shown), _not_run(find))))
    return "\n\n".join(filter(None, (catalogue_order(probes, find), lead)))


def catalogue_order(probes: Measured, find: Find) -> str:
    """Say whether catalogue order explains the AUC that the paper's first version prints for DIEN.

    It does on a data set where a rule without parameters comes within `NEAR` of the printed AUC in that order, and
    DIEN's AUC is significantly higher in it than by time (Holm-corrected over the data sets). It does not where the
    rule falls short of that, or DIEN's AUC is significantly lower. Otherwise it is not known.
    """
    printed = paper.V1_AUC["electronics"]["dien"].mean
    found = [orders for dataset in DATASETS if (orders := _orders(dataset, probes, find))]
    if not found:
        return ""
    tested = [orders for orders in found if orders.p is not None]
    corrected = holm([orders.p for orders in tested if orders.p is not None])
    significant = {orders.dataset for orders, p in zip(tested, corrected, strict=True) if p < SIGNIFICANT}
    explained: dict[str, bool | None] = {}
    for orders in found:
        known = orders.gain > 0 if orders.dataset in significant else None
        explained[orders.dataset] = known if orders.rule > printed - NEAR else False
    rules, clean_rules = (
        " and ".join(f"{getattr(orders, name):.3f} on {orders.dataset.capitalize()}" for orders in found)
        for name in ("rule", "clean_rule")
    )
    models, clean_models = (
        ", ".join(f"{getattr(orders, name):.3f}" for orders in found) for name in ("dien", "clean_dien")
    )
    return (
        f"{_verdict(explained)} the AUC of {printed:.2f} that the paper's first version prints for DIEN. In that "
        f"order, a rule that looks at catalogue numbers alone and has no parameters reaches {rules} (DIEN: {models}); "
        f"in honest order, protocol `{CLEAN}`, {clean_rules} (DIEN: {clean_models})."
    )


def _orders(dataset: str, probes: Measured, find: Find) -> Orders | None:
    """What is known of a data set; None where a run or a probe is missing."""
    catalogue, by_time, clean = (find(dataset, protocol, VARIANT, "dien") for protocol in (CATALOGUE, BY_TIME, CLEAN))
    rule, clean_rule = (rule_auc(probes, dataset, protocol) for protocol in (CATALOGUE, CLEAN))
    dien, clean_dien = catalogue.mean(), clean.mean()
    if rule is None or clean_rule is None or dien is None or clean_dien is None:
        return None
    gain, _, test = gain_of((catalogue, by_time))
    if gain is None:
        return None
    return Orders(dataset, rule, dien, clean_rule, clean_dien, gain, None if test is None else test.p)


def _not_run(find: Find) -> str:
    """Say which of the paper's own data sets have no runs of DIEN under its protocols."""
    without = [
        dataset.capitalize()
        for dataset in paper.V1_AUC
        if not any(find(dataset, protocol, VARIANT, "dien").records for protocol in (CATALOGUE, BY_TIME))
    ]
    subsets = " and ".join(dataset.capitalize() for dataset in DATASETS)
    text = f"{subsets} are other subsets of the paper's Amazon release"
    return f"{text}; {' and '.join(without)}, its own, have not been run here." if without else ""


def _verdict(explained: Mapping[str, bool | None]) -> str:
    """Begin the sentence; None: not known.

    >>> _verdict({"sports": True, "beauty": False})
    '**Catalogue order explains** on Sports, and not on Beauty,'
    >>> _verdict({"sports": True, "beauty": None})
    '**Catalogue order explains** on Sports, and perhaps (not significant, or not tested) on Beauty,'
    """
    words = {True: "explains", False: "does not explain", None: "may explain (not significant, or not tested)"}
    behind = {True: "", False: "not ", None: "perhaps (not significant, or not tested) "}
    found = {value: [name.capitalize() for name, one in explained.items() if one is value] for value in words}
    first, *others = [value for value in words if found[value]]
    text = f"**Catalogue order {words[first]}**"
    if not others:
        return text
    rest = "".join(f", and {behind[value]}on {' and '.join(found[value])}" for value in others)
    return f"{text} on {' and '.join(found[first])}{rest},"


def lead_over_din(shown: Sequence[Shown]) -> str:
    """Say how far DIEN is above DIN in honest order, and whether that is significant, by the test of Table 2 there."""
    tests = {
        result.dataset: result.tested.get(("dien", "din"))
        for table in shown
        if (table.number, table.protocol, table.variant) == ("2", CLEAN, VARIANT)
        for result in table.results
    }
    said = [_lead(dataset, tests[dataset]) for dataset in reversed(DATASETS) if dataset in tests]
    return f"**In honest order**, DIEN's AUC is {' and '.join(said)}." if said else ""


def _lead(dataset: str, test: Difference | None) -> str:
    name = dataset.capitalize()
    if test is None:
        return f"not tested against DIN's on {name}"
    gain, p = test.comparison.difference, "p < 0.001" if test.p < 0.001 else f"p = {test.p:.2g}"
    if relation_of(test) != DIFFERENT:
        return f"not significantly different from DIN's on {name} ({gain:+.3f}, {p})"
    return f"significantly {'higher' if gain > 0 else 'lower'} than DIN's on {name} ({gain:+.3f}, {p})"
