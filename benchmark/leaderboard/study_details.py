"""The study's second page: levels of every row, DIEN's auxiliary loss setting by setting, the two variants."""

from collections.abc import Sequence

from benchmark.leaderboard.study_runs import (
    DATASETS,
    MODELS,
    PROTOCOLS,
    Find,
    Measured,
    difference,
    finder,
    rule_auc,
    short_label,
    table,
)
from benchmark.records.record import Record

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


def details_page(records: Sequence[Record], probes: Measured) -> str:
    """Return the page as Markdown; a figure that has no runs is left blank."""
    find = finder(records)
    levels = [line for dataset in DATASETS for line in (f"**{dataset}**", "", *_levels(find, probes, dataset), "")]
    parts = {
        "": INTRODUCTION,
        "The levels": "\n".join([*levels, LEVELS]),
        "DIEN's auxiliary loss, one setting at a time": "\n".join([*_grid(find), "", GRID_TEXT]),
        "The equations instead of the released code": "\n".join(
            [*_variants(find), "", VARIANTS, *_first_pass(find), "", SLOW_START]
        ),
        "Check it": COMMANDS,
    }
    return "\n".join(f"## {heading}\n\n{text}" if heading else text for heading, text in parts.items())


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


INTRODUCTION = """\
# The study, figure by figure

Made by `make leaderboard` from the records; not to be edited. What it comes to: [the study](study.md). All levels are
test AUC of the checkpoint best on test users, as in print, mean ± standard deviation over seeds. In brackets: seeds.
± behind a difference: half its 95 % interval over test users and seeds, from two seeds on; a difference of one seed
is no more than a hint.
"""
LEVELS = """\
`uniform-negatives` and `din-2018` stand beside the way: they are `aaai-2019` with other negatives, and the samples
of the DIN paper, where every position trains and all users are tested.
"""
GRID_TEXT = """\
Lines below the first: difference to it, over the seeds that both have. Seeds of one row differ by 0.001 to 0.010
(standard deviation), so that a difference of one seed below 0.02 tells nothing apart. Under `clean` the only
settings told from the released one are an alpha of 0 and of 0.1 on Beauty. Intervals are not corrected for their
number.
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
The levels: as on [the study's page](study.md), with any protocol above in `P`. The rest (a run takes one to
four minutes on one core, under `din-2018` four to ten):

```sh
.venv/bin/dien-bench run --out runs --datasets "sports beauty" --protocol clean --variant paper --seeds "0 1" \\
  --models "base-model din gru-attention augru dien"
.venv/bin/dien-bench run --out runs --datasets sports --protocol clean --seeds "0 1" \\
  --models "dien+auxiliary_weight=0.1 dien+auxiliary_negatives=uniform dien+auxiliary_head=inner-product"
.venv/bin/dien-bench leaderboard add runs --board mine
.venv/bin/dien-bench leaderboard build --board mine
```
"""
