"""The study's first page: what order, ties, negatives, picking on test and the auxiliary loss are each worth in AUC.

leaderboards/study.md, made from the board's records and probes; a figure that has no runs is left blank. What stands
behind it is on a second page (study_details.py).
"""

from collections.abc import Sequence
from pathlib import Path

from benchmark.leaderboard.study_details import details_page
from benchmark.leaderboard.study_figure import figure_ladder
from benchmark.leaderboard.study_runs import (
    DATASETS,
    LADDER,
    MODELS,
    SHORT,
    Find,
    Measured,
    difference,
    finder,
    picked,
    rule_auc,
    short_label,
    table,
)
from benchmark.records.record import Record
from datamodules.files.atomic import write_atomically

CHANGES = {  # what is added -> with it, without it
    "catalogue order instead of time": ("arxiv-v1", "aaai-2019"),
    "catalogue order inside a day": ("aaai-2019", "random-ties"),
    "negatives that the user may know": ("random-ties", "clean"),
    "uniform negatives instead of popular ones": ("uniform-negatives", "aaai-2019"),
}


def write_study(records: Sequence[Record], probes: Measured, board: Path) -> list[Path]:
    """Write study.md, its figure and study-details.md to the board, and return their paths."""
    pages = {"study.md": study_page(records, probes), "study-details.md": details_page(records, probes)}
    for name, page in pages.items():
        write_atomically(board / name, page.encode())
    find = finder(records)
    levels = {
        dataset: {m: [find(dataset, p, "official", m).mean() for p in LADDER] for m in MODELS} for dataset in DATASETS
    }
    rules = {dataset: [rule_auc(probes, dataset, protocol) for protocol in LADDER] for dataset in DATASETS}
    return [*(board / name for name in pages), *figure_ladder(levels, rules, LADDER, board / "study")]


def study_page(records: Sequence[Record], probes: Measured) -> str:
    """Return the page as Markdown."""
    find = finder(records)
    worth = [line for dataset in DATASETS for line in (f"**{dataset}**", "", *_worth(find, probes, dataset), "")]
    parts = {"What each is worth": "\n".join([*worth, WORTH]), "Check it": COMMANDS}
    return "\n".join([INTRODUCTION, *(f"## {heading}\n\n{text}" for heading, text in parts.items())])


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
    for protocol in LADDER:
        if gain := difference(*(find(dataset, protocol, "official", model) for model in ("dien", "augru"))):
            rows.append(["auxiliary loss (DIEN − AUGRU)", "", "", gain, "", f"`{protocol}`"])
    return table(["what is added", *map(short_label, SHORT), "rule", "runs of"], rows)


INTRODUCTION = """\
# Why is the paper's AUC not reached?

Made by `make leaderboard` from the records; not to be edited. Who trains DIEN on Amazon reviews today finds an AUC
near 0.76 where the first version of the paper prints 0.90. This page takes the way from one to the other in single
steps, on two subsets of the same release (Sports, Beauty), with the same test users at every step. AUC is the
chance that a test user's true next item scores above a drawn one; 0.5 is chance.

![AUC of every row, step by step](study.png)

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
  worth more in catalogue order, where "what comes next" is a question about the catalogue, than by time, and under
  `clean` on Sports it is not told from nothing.
- **DIEN as printed against DIEN as released depends on the samples.** By time it is ahead, by 0.02 under `clean` and
  0.01 under `aaai-2019`; in catalogue order it is behind on Sports and ahead on Beauty, by less than 0.01; where every
  position trains, `din-2018`, it was 0.015 behind on both in the one seed that was run.

Every level, DIEN's auxiliary loss setting by setting, and the equations against the released code:
[figure by figure](study-details.md).
"""
WORTH = """\
AUC with it minus AUC without it, of the checkpoint best on test users, as in print. In brackets: seeds. ±: half the
95 % interval over test users and seeds. All else is equal, but for `clean`, which also trains on a ninth fewer users
(they validate) and takes popularity from training users alone. [What a protocol is](../docs/protocols.md).
"""
COMMANDS = """\
Put the protocols of a line's last column into `P`. Two seeds take some twenty minutes on two cores, and need
nothing from this board; `AMAZON_MIRROR=folder` in front takes the raw files from a folder.

```sh
P="arxiv-v1 aaai-2019"
for p in $P; do
  .venv/bin/dien-bench probe --dataset "sports beauty" --protocol $p --out mine/probes
  .venv/bin/dien-bench run --datasets "sports beauty" --protocol $p --seeds "0 1" --out runs \\
    --models "base-model din augru dien" --workers 2
done
.venv/bin/dien-bench leaderboard add runs --board mine
.venv/bin/dien-bench leaderboard build --board mine
```

`mine/study.md` is this page with the figures of these runs alone; its sentences stay those about the records committed
here. Other rounding, as of another machine, moves the AUC of a run less than another seed does
([speed](../docs/speed.md)).
"""
