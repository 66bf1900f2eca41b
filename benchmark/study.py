"""The study: what order, ties, negatives, picking on test and the auxiliary loss are each worth in AUC.

leaderboards/study.md, made from the board's records and probes; a figure that has no runs is left blank.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.probes import Probes
from benchmark.records import Record, write_atomically
from benchmark.study_figure import figure_ladder, short_label
from benchmark.study_runs import Find, difference, finder, picked

DATASETS = ("sports", "beauty")
MODELS = ("base-model", "din", "gru-attention", "augru", "dien")
SHORT = ("base-model", "din", "dien")  # what is run under the protocols of one change
PROTOCOLS = {  # in the order of the ladder, then the two beside it
    "arxiv-v1": "catalogue order",
    "aaai-2019": "by time, a day in catalogue order",
    "random-ties": "by time, a day in random order",
    "clean": "the same, and no negative that the user knows",
    "uniform-negatives": "`aaai-2019`, negatives uniform",
    "din-2018": "every position trains, negatives uniform",
}
LADDER = ("arxiv-v1", "aaai-2019", "random-ties", "clean")
CHANGES = {  # what is added -> with it, without it
    "catalogue order instead of time": ("arxiv-v1", "aaai-2019"),
    "catalogue order inside a day": ("aaai-2019", "random-ties"),
    "negatives that the user may know": ("random-ties", "clean"),
    "uniform negatives instead of popular ones": ("uniform-negatives", "aaai-2019"),
}
RULE = "catalogue-order"
GRID = {  # options behind "dien", by what they say
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
GRID_PROTOCOLS = ("arxiv-v1", "clean")
VARIANT_PROTOCOLS = ("arxiv-v1", "aaai-2019", "clean", "din-2018")
FIRST_PASS = 500  # steps: the first evaluation behind the first pass over the samples of `clean`, on either data set
Measured = Mapping[tuple[str, str], Probes]  # (data set, protocol)


def write_study(records: Sequence[Record], probes: Measured, board: Path) -> list[Path]:
    """Write study.md and its figure to the board, and return their paths."""
    write_atomically(board / "study.md", study_page(records, probes).encode())
    find = finder(records)
    levels = {
        dataset: {m: [find(dataset, p, "official", m).mean() for p in LADDER] for m in MODELS} for dataset in DATASETS
    }
    rules = {dataset: [_rule(probes, dataset, protocol) for protocol in LADDER] for dataset in DATASETS}
    return [board / "study.md", *figure_ladder(levels, rules, LADDER, board / "study")]


def study_page(records: Sequence[Record], probes: Measured) -> str:
    """Return the page as Markdown."""
    find = finder(records)
    worth = [line for dataset in DATASETS for line in (f"**{dataset}**", "", *_worth(find, probes, dataset), "")]
    levels = [line for dataset in DATASETS for line in (f"**{dataset}**", "", *_levels(find, probes, dataset), "")]
    parts = {
        "": INTRODUCTION,
        "What each is worth": "\n".join([*worth, WORTH]),
        "The levels": "\n".join([FIGURE, *levels, LEVELS]),
        "DIEN's auxiliary loss, one setting at a time": "\n".join([*_grid(find), "", GRID_TEXT]),
        "The equations instead of the released code": "\n".join(
            [*_variants(find), "", VARIANTS, *_first_pass(find), "", SLOW_START]
        ),
        "Check it": COMMANDS,
    }
    return "\n".join(f"## {heading}\n\n{text}" if heading else text for heading, text in parts.items())


def _worth(find: Find, probes: Measured, dataset: str) -> list[str]:
    rows = []
    for change, (with_it, without) in CHANGES.items():
        cells = [difference(*(find(dataset, p, "official", m) for p in (with_it, without))) for m in SHORT]
        rule, other = (_rule(probes, dataset, protocol) for protocol in (with_it, without))
        rows.append([change, *cells, "" if rule is None or other is None else f"{rule - other:+.3f}"])
    for protocol, honest, words in (
        ("arxiv-v1", "last", "the last step's, `arxiv-v1`"),
        ("clean", "last", "the last step's, `clean`"),
        ("clean", "validation", "the one best on validation users, `clean`"),
    ):
        cells = [picked(find(dataset, protocol, "official", model), honest) for model in SHORT]
        rows.append([f"checkpoint best on test instead of {words}", *cells, ""])
    for protocol in LADDER:
        if gain := difference(*(find(dataset, protocol, "official", model) for model in ("dien", "augru"))):
            rows.append([f"auxiliary loss (DIEN over AUGRU), `{protocol}`", "", "", gain, ""])
    return _table(["what is added", *map(short_label, SHORT), "rule"], rows)


def _levels(find: Find, probes: Measured, dataset: str) -> list[str]:
    rows = []
    for protocol, words in PROTOCOLS.items():
        rule = _rule(probes, dataset, protocol)
        cells = [find(dataset, protocol, "official", model).text() for model in MODELS]
        rows.append([f"`{protocol}`: {words}", *cells, "" if rule is None else f"{rule:.3f}"])
    return _table(["protocol", *map(short_label, MODELS), "rule"], rows)


def _grid(find: Find) -> list[str]:
    places = [(dataset, protocol) for protocol in GRID_PROTOCOLS for dataset in DATASETS]
    default = ["as released: alpha = 1, negatives by popularity, fresh, mean over places, MLP"]
    rows = [default + [find(*place, "official", "dien").text() for place in places]]
    for words, model in GRID.items():
        cells = [difference(find(*place, "official", model), find(*place, "official", "dien")) for place in places]
        rows.append([words, *cells])
    return _table(["auxiliary loss", *(f"{dataset}, `{protocol}`" for dataset, protocol in places)], rows)


def _variants(find: Find) -> list[str]:
    rows = [
        [
            f"{dataset}, `{protocol}`",
            *(difference(*(find(dataset, protocol, v, model) for v in ("paper", "official"))) for model in MODELS),
        ]
        for protocol in VARIANT_PROTOCOLS
        for dataset in DATASETS
    ]
    return _table(["`paper` minus `official`", *map(short_label, MODELS)], [row for row in rows if any(row[1:])])


def _first_pass(find: Find) -> list[str]:
    rows = [
        [f"{dataset}, `{variant}`", *(find(dataset, "clean", variant, model).text_at(FIRST_PASS) for model in MODELS)]
        for dataset in DATASETS
        for variant in ("official", "paper")
    ]
    return _table([f"`clean`, after {FIRST_PASS} steps", *map(short_label, MODELS)], rows)


def _rule(probes: Measured, dataset: str, protocol: str) -> float | None:
    """AUC of the catalogue rule."""
    found = probes.get((dataset, protocol))
    return None if found is None else next((probe.auc for probe in found.probes if probe.name == RULE), None)


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


INTRODUCTION = """\
# Why is the paper's AUC not reached?

Made by `make leaderboard` from the records; not to be edited. Who trains DIEN on Amazon reviews today finds an AUC
near 0.76 where the first version of the paper prints 0.90. This page takes the way from one to the other in single
steps, on two subsets of the same release (Sports, Beauty), with the same test users at every step. AUC is the
chance that a test user's true next item scores above a drawn one; 0.5 is chance.

- **Catalogue order is the gap.** The paper's first data had each user's reviews in the order of the files, which is
  that of catalogue numbers. Sorting by time takes more than 0.1 off every row, and *the rule*, which is no model at
  all but "the candidate stands just behind the user's last item in the catalogue", falls from 0.91, as good as DIEN
  or better, to below 0.7.
- **Order inside a day matters to the rule, hardly to the models.** Times have the resolution of a day, and a stable
  sort leaves each day in catalogue order: worth more than 0.1 to the rule, and nothing told from noise to a model.
- **Negatives move the level.** Uniform negatives instead of popular ones add 0.01 to 0.04: that an item is popular
  then says that it is the true one. Negatives that the user may know, and a ninth more users that train, are worth
  0.02 at most.
- **Picking the checkpoint on test users is early stopping.** It adds up to 0.05 over the last step of a row that
  overfits, but hardly 0.003 over a checkpoint picked on other users, which is as easy to have.
- **Of DIEN's parts the auxiliary loss is the one that shows.** AUGRU is not told from DIN. The auxiliary loss is
  worth more in catalogue order, where "what comes next" is a question about the catalogue, than by time.
- **By time DIEN as printed is ahead of DIEN as released**, by 0.02 under `clean`; in catalogue order it is not. The
  inner product in its auxiliary loss, where the released code has an MLP, may be a part of that.

All levels below are of the checkpoint best on test users, as in print. In brackets: seeds. ± behind a difference:
half its 95 % interval over test users and seeds, from two seeds on; a difference of one seed is no more than a
hint.
"""
WORTH = """\
Each line is the AUC with it minus the AUC without it, all else equal, except that `clean`, which the third line
compares with, also trains on a ninth fewer users (they validate) and takes popularity from training users alone.
"""
FIGURE = "![AUC of every row, step by step](study.png)\n"
LEVELS = """\
`uniform-negatives` and `din-2018` stand beside the way: they are `aaai-2019` with other negatives, and the samples
of the DIN paper, where every position trains and all users are tested.
"""
GRID_TEXT = """\
Lines below the first: difference to it, over the seeds that both have. Seeds of one row differ by 0.001 to 0.010
(standard deviation), so that a difference of one seed below 0.02 tells nothing apart.
"""
VARIANTS = """\
What the equations leave out of the released code, and the other way round: [variants](../docs/variants.md).
"""
SLOW_START = """\
One pass over the samples takes 445 steps on Sports and 280 on Beauty; from the second on every row overfits. DIN as
printed is far behind by then on Sports: its activation weights are not normalised, and its MLP sees neither the user
nor the sum of the history. What it learns later, it learns from samples that it has seen before. Layers, losses and
gradients agree with the equations (`tests/baselines/test_parity.py`).
"""
COMMANDS = """\
The rows of every table, here with two seeds (a run takes one to four minutes on one core):

```sh
P="arxiv-v1 aaai-2019 random-ties clean uniform-negatives din-2018"
for p in $P; do .venv/bin/dien-bench probe --dataset "sports beauty" --protocol $p; done
for p in $P; do .venv/bin/dien-bench run --datasets "sports beauty" --protocol $p --seeds "0 1" \\
  --models "base-model din gru-attention augru dien"; done
.venv/bin/dien-bench run --datasets "sports beauty" --protocol clean --variant paper --seeds "0 1"
.venv/bin/dien-bench run --datasets sports --protocol clean --seeds "0 1" \\
  --models "dien+auxiliary_weight=0.1 dien+auxiliary_negatives=uniform dien+auxiliary_head=inner-product"
.venv/bin/dien-bench leaderboard add runs
```

Every line of "What each is worth" needs two of these protocols; [protocols](../docs/protocols.md) says what they are.
`AMAZON_MIRROR=folder` in front takes the raw files from a folder.
"""
