"""What the build puts into the study's pages, study.md and study-details.md, which are written by hand.

Tables and lists of verdicts, each between the marks of its name; what has no runs is left blank. A board without these
pages has no study.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmark.analysis.summary import Difference
from benchmark.leaderboard.marks import fill
from benchmark.leaderboard.store import GALLERY
from benchmark.leaderboard.study_figure import figure_ladder
from benchmark.leaderboard.study_runs import (
    DATASETS,
    LADDER,
    MODELS,
    PROTOCOLS,
    SHORT,
    Find,
    Measured,
    Runs,
    difference,
    finder,
    gain_of,
    last_difference,
    picked,
    rule_auc,
    said,
    table,
    trained_otherwise,
    verdicts,
)
from benchmark.records.paper import short_label
from benchmark.records.record import Record
from benchmark.report.table_sections import OPTIONS, Shown

PAGES = ("study.md", "study-details.md")
CHANGES = {  # what is added -> with it, without it
    "catalogue order instead of time": ("arxiv-v1", "aaai-2019"),
    "catalogue order inside a day": ("aaai-2019", "random-ties"),
    "negatives that the user may know": ("random-ties", "clean"),
    "uniform negatives instead of popular ones": ("uniform-negatives", "aaai-2019"),
}
GRID = {  # DIEN's auxiliary loss: options behind "dien", by what they say
    "alpha = 0 (the row AUGRU)": "augru",
    "alpha = 0.1": "dien+auxiliary_weight=0.1",
    "alpha = 0.5": "dien+auxiliary_weight=0.5",
    "alpha = 2": "dien+auxiliary_weight=2",
    "negatives uniform, fresh each epoch": "dien+auxiliary_negatives=uniform",
    "negatives by popularity, drawn once": "dien+auxiliary_draws=once",
    "negatives uniform, drawn once": "dien+auxiliary_draws=once+auxiliary_negatives=uniform",
    "mean over real behaviours": "dien+auxiliary_mean=behaviours",
    "inner product as head": "dien+auxiliary_head=inner-product",
}
# Of training, as the released code has them otherwise (docs/variants.md): variant, words, option behind a model.
CHOICES = [
    ("official", "users that training never saw: an untrained row (19)", "unknown_user=own"),
    ("official", "a user's positive and negative in any batch (21)", "pairs_together=false"),
    ("official", "Adam's epsilon as PyTorch adds it (22)", "adam_epsilon=torch"),
    ("official", "all three", "adam_epsilon=torch+pairs_together=false+unknown_user=own"),
    ("paper", "variant `paper`, samples shuffled in place of histories (21)", "pairs_together=false"),
]
GRID_PROTOCOLS = ("arxiv-v1", "clean")
VARIANT_PROTOCOLS = ("arxiv-v1", "aaai-2019", "clean", "din-2018")
FIRST_PASS = 500  # steps: the first evaluation behind the first pass over the samples of `clean`, on either data set
Rows = tuple[str, str, str, str, str]  # data set, protocol, variant, model and the one that it is compared with
Tested = Mapping[Rows, Difference]


def write_study(records: Sequence[Record], probes: Measured, tables: Sequence[Shown], board: Path) -> list[Path]:
    """Fill in the study's pages where the board has them and draw its figure; return their paths.

    tables  those of the board, with options and without, whose tests are taken over
    """
    pages = [board / name for name in PAGES if (board / name).is_file()]
    if not pages:
        return []
    find = finder(records)
    parts = {name: "\n".join(lines) for name, lines in study_parts(find, probes, _tests_of(tables)).items()}
    for page in pages:
        fill(page, parts)
    levels = {dataset: {model: _line(find, dataset, model) for model in MODELS} for dataset in DATASETS}
    rules = {name: [(place, rule_auc(probes, name, p)) for place, p in enumerate(LADDER)] for name in DATASETS}
    return [*pages, *figure_ladder(levels, rules, LADDER, board / GALLERY / "study")]


def _line(find: Find, dataset: str, model: str) -> list[tuple[float, float | None]]:
    """Return place and AUC over the protocols of the figure; None stands before one that was trained otherwise."""
    line: list[tuple[float, float | None]] = []
    runs = [find(dataset, protocol, "official", model) for protocol in LADDER]
    for place, (before, here) in enumerate(pairwise([runs[0], *runs])):
        if trained_otherwise((here, before)):
            line.append((place - 0.5, None))
        line.append((place, here.mean()))
    return line


def study_parts(find: Find, probes: Measured, tested: Tested) -> dict[str, list[str]]:
    """Return the lines of every part by the name of its mark."""
    changes = {
        change: verdicts(
            {
                f"{short_label(model)} on {dataset}": (
                    find(dataset, with_it, "official", model),
                    find(dataset, without, "official", model),
                )
                for dataset in DATASETS
                for model in SHORT
            }
        )
        for change, (with_it, without) in CHANGES.items()
    }
    return {
        "the way": _way(find, probes),
        **changes,
        "parts of DIEN": _parts_of_dien(find, tested),
        "DIEN as printed": _as_printed(find),
        "worth": _by_dataset(lambda dataset: _worth(find, probes, dataset)),
        "levels": _by_dataset(lambda dataset: _levels(find, probes, dataset)),
        "settings": _grid(find),
        "verdicts of the settings": _verdicts_of_settings(find, tested),
        "choices": _choices(find, difference),
        "choices at the last step": _choices(find, last_difference),
        "verdicts of the choices": _verdicts_of_choices(find, tested),
        "variants": _variants(find),
        "first pass": _first_pass(find),
    }


def _tests_of(tables: Sequence[Shown]) -> dict[Rows, Difference]:
    """Return the tests of Table 4 and of the tables of options."""
    return {
        (result.dataset, shown.protocol, shown.variant, *pair): test
        for shown in tables
        if shown.number in ("4", OPTIONS)
        for result in shown.results
        for pair, test in result.tested.items()
    }


def _by_dataset(lines_of: Callable[[str], list[str]]) -> list[str]:
    return [line for dataset in DATASETS for line in (f"**{dataset}**", "", *lines_of(dataset), "")]


def _way(find: Find, probes: Measured) -> list[str]:
    """AUC of DIEN and of the rule under the protocols of the ladder."""
    rows = []
    for protocol in LADDER:
        cells = []
        for dataset in DATASETS:
            rule = rule_auc(probes, dataset, protocol)
            cells += [find(dataset, protocol, "official", "dien").text(), "" if rule is None else f"{rule:.3f}"]
        rows.append([f"`{protocol}`: {PROTOCOLS[protocol]}", *cells])
    return table(["samples", *(f"{dataset}, {what}" for dataset in DATASETS for what in ("DIEN", "rule"))], rows)


def _worth(find: Find, probes: Measured, dataset: str) -> list[str]:
    rows = []
    for change, sides in CHANGES.items():
        cells = [difference(*(find(dataset, protocol, "official", model) for protocol in sides)) for model in SHORT]
        rule, other = (rule_auc(probes, dataset, protocol) for protocol in sides)
        by_rule = "" if rule is None or other is None else f"{rule - other:+.3f}"
        rows.append([change, *cells, by_rule, " − ".join(f"`{protocol}`" for protocol in sides)])
    for protocol, honest, words in (
        ("arxiv-v1", "last", "the last step's"),
        ("clean", "last", "the last step's"),
        ("clean", "validation", "best on validation users"),
    ):
        cells = [picked(find(dataset, protocol, "official", model), honest) for model in SHORT]
        rows.append([f"checkpoint best on test instead of {words}", *cells, "", f"`{protocol}`"])
    return table(["what is added", *map(short_label, SHORT), "rule", "runs of"], rows)


def _parts_of_dien(find: Find, tested: Tested) -> list[str]:
    """What Table 4's tests say of the auxiliary loss and of AUGRU."""
    lines = []
    for words, pair in (("auxiliary loss, DIEN − AUGRU", ("dien", "augru")), ("AUGRU − DIN", ("augru", "din"))):
        places = {
            f"`{protocol}` on {dataset}": (dataset, protocol, "official", *pair)
            for protocol in LADDER
            for dataset in DATASETS
        }
        lines += [f"{words}:", "", *_of_tables(find, tested, places), ""]
    return lines


def _of_tables(find: Find, tested: Tested, places: Mapping[str, Rows]) -> list[str]:
    """Return as a list what the board's tables say of rows, by name."""
    gains = {}
    for name, rows in places.items():
        test = tested.get(rows)
        runs, reference = (find(*rows[:3], model) for model in rows[3:])
        gain = gain_of((runs, reference))[0] if test is None else test.comparison.difference
        if gain is not None:
            gains[name] = (gain, test)
    return said(gains)


def _as_printed(find: Find) -> list[str]:
    """DIEN of variant paper against official."""
    return verdicts(
        {
            f"`{protocol}` on {dataset}": (
                find(dataset, protocol, "paper", "dien"),
                find(dataset, protocol, "official", "dien"),
            )
            for protocol in VARIANT_PROTOCOLS
            for dataset in DATASETS
        }
    )


def _levels(find: Find, probes: Measured, dataset: str) -> list[str]:
    rows = []
    for protocol, words in PROTOCOLS.items():
        rule = rule_auc(probes, dataset, protocol)
        cells = [find(dataset, protocol, "official", model).text() for model in MODELS]
        rows.append([f"`{protocol}`: {words}", *cells, "" if rule is None else f"{rule:.3f}"])
    return table(["protocol", *map(short_label, MODELS), "rule"], rows)


def _grid(find: Find) -> list[str]:
    places = [(dataset, protocol) for protocol in GRID_PROTOCOLS for dataset in DATASETS]
    default = ["as released: alpha = 1, negatives by popularity, fresh, mean over places, MLP"]
    rows = [default + [find(*place, "official", "dien").text() for place in places]]
    for words, model in GRID.items():
        cells = [difference(find(*place, "official", model), find(*place, "official", "dien")) for place in places]
        rows.append([words, *cells])
    return table(["auxiliary loss", *(f"{dataset}, `{protocol}`" for dataset, protocol in places)], rows)


def _verdicts_of_settings(find: Find, tested: Tested) -> list[str]:
    """What the tests of the board's tables say of each setting against the released one."""
    lines = []
    for protocol in GRID_PROTOCOLS:
        places = {
            f"{words} on {dataset}": (dataset, protocol, "official", model, "dien")
            for dataset in DATASETS
            for words, model in GRID.items()
        }
        lines += [f"`{protocol}`:", "", *_of_tables(find, tested, places), ""]
    return lines


def _choices(find: Find, compared: Callable[[Runs, Runs], str]) -> list[str]:
    """A line a data set, protocol and choice that was run; what it adds to the AUC of each model."""
    rows = []
    for protocol in GRID_PROTOCOLS:
        for dataset in DATASETS:
            for variant, words, option in CHOICES:
                row_of = partial(find, dataset, protocol, variant)
                cells = [compared(row_of(f"{model}+{option}"), row_of(model)) for model in SHORT]
                rows.append([f"{dataset}, `{protocol}`: {words}", *cells])
    return table(["instead of the released code's", *map(short_label, SHORT)], [row for row in rows if any(row[1:])])


def _verdicts_of_choices(find: Find, tested: Tested) -> list[str]:
    """What the tests of the board's tables say of each choice against the row without it."""
    lines = []
    for variant, words, option in CHOICES:
        places = {
            f"{short_label(model)} on {dataset}, `{protocol}`": (dataset, protocol, variant, f"{model}+{option}", model)
            for protocol in GRID_PROTOCOLS
            for dataset in DATASETS
            for model in SHORT
        }
        lines += [f"{words}:", "", *_of_tables(find, tested, places), ""]
    return lines


def _variants(find: Find) -> list[str]:
    rows = [
        [
            f"{dataset}, `{protocol}`",
            *(difference(*(find(dataset, protocol, v, model) for v in ("paper", "official"))) for model in MODELS),
        ]
        for protocol in VARIANT_PROTOCOLS
        for dataset in DATASETS
    ]
    return table(["`paper` minus `official`", *map(short_label, MODELS)], [row for row in rows if any(row[1:])])


def _first_pass(find: Find) -> list[str]:
    rows = [
        [f"{dataset}, `{variant}`", *(find(dataset, "clean", variant, model).text_at(FIRST_PASS) for model in MODELS)]
        for dataset in DATASETS
        for variant in ("official", "paper")
    ]
    return table([f"`clean`, after {FIRST_PASS} steps", *map(short_label, MODELS)], rows)
