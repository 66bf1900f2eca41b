"""All data sets by name, and how one is prepared.

A name that is not in `DATASETS` is a data set of the user's own, where the data directory has its manifest
(`datamodules.sources.clicks` writes it).
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from datamodules.errors import UserError, cannot_write, unknown_name
from datamodules.files.atomic import removing_when_terminated
from datamodules.files.lock import locked
from datamodules.files.manifest import MANIFEST, check_inputs, load_manifest
from datamodules.impressions_file import counts_of, write_impressions
from datamodules.interactions import write_interactions
from datamodules.protocol import (
    OF_IMPRESSIONS,
    OF_INTERACTIONS,
    RELEASED,
    AnyProtocol,
    DayProtocol,
    Protocol,
    ReleasedProtocol,
)
from datamodules.sources.amazon import AMAZON, CATEGORIES, name_of
from datamodules.sources.generated import GENERATED
from datamodules.sources.impression_logs import IMPRESSIONS
from datamodules.sources.released.finished import write_finished
from datamodules.sources.released.sets import FINISHED
from datamodules.sources.spec import AnySpec, Counts, DatasetSpec, FinishedSpec, ImpressionSpec, RawInteractions
from datamodules.sources.tafeng import TAFENG

OWN_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"  # of a data set of the user's own: one folder, one word in every option
DATASETS: dict[str, DatasetSpec] = {
    **AMAZON,  # electronics, books, and the other categories
    "tafeng": TAFENG,
    "generated": GENERATED,
}


def get_dataset(name: str, data_dir: Path | None = None) -> AnySpec:
    """Return a data set by its name, of the suite or imported into `data_dir`.

    "NAME@0.25" is a log of impressions with a quarter of its users. Raises `UserError` with the closest name where
    there is none such.

    >>> get_dataset("toys-and-games").expected.interactions
    167597
    """
    if name in DATASETS:
        return DATASETS[name]
    if name in FINISHED:
        return FINISHED[name]
    base, at, share = name.partition("@")
    if base in IMPRESSIONS:
        return _with_share(IMPRESSIONS[base], share) if at else IMPRESSIONS[base]
    own = [] if data_dir is None else own_datasets(Path(data_dir))
    if data_dir is not None and name in own:
        return _own_dataset(name, Path(data_dir) / name / MANIFEST)
    for category in CATEGORIES:
        if name.lower().replace("-", "_").replace(" ", "_") == category.lower():
            raise UserError(f"unknown data set '{name}', did you mean '{name_of(category)}'?")
    raise unknown_name("data set", name, [*own, *DATASETS, *FINISHED, *IMPRESSIONS])


def _with_share(spec: ImpressionSpec, share: str) -> ImpressionSpec:
    """A log with a share of its users."""
    if not re.fullmatch(r"0\.\d{1,4}", share) or not float(share):
        raise UserError(f"the share of users must be a number between 0 and 1, as in {spec.name}@0.25, got {share!r}")
    few = f", too few users to compare with others' results (at least {spec.least_share:.0%})"
    title = f"{spec.title}, {float(share):.4g} of the users" + (few if float(share) < spec.least_share else "")
    return replace(
        spec, name=f"{spec.name}@{share}", title=title, expected={}, read=partial(spec.read, users=float(share))
    )


def check_fits(spec: AnySpec, protocol: AnyProtocol) -> None:
    """Raise `UserError` where a protocol makes no samples of what a data set has."""
    kinds: tuple[tuple[type, type, str, str, list[str]], ...] = (
        (DatasetSpec, Protocol, "behaviours alone", "data sets of behaviours", [*OF_INTERACTIONS]),
        (ImpressionSpec, DayProtocol, "a log of impressions", ", ".join(IMPRESSIONS), [*OF_IMPRESSIONS]),
        (FinishedSpec, ReleasedProtocol, "finished samples", ", ".join(FINISHED), [RELEASED.name]),
    )
    of_spec = next(kind for kind in kinds if isinstance(spec, kind[0]))
    of_protocol = next(kind for kind in kinds if isinstance(protocol, kind[1]))
    if of_spec is not of_protocol:
        raise UserError(
            f"protocol {protocol.name} makes samples of {of_protocol[2]} ({of_protocol[3]}), and {spec.name} has "
            f"{of_spec[2]}: use {' or '.join(of_spec[4])}"
        )


def own_datasets(data_dir: Path) -> list[str]:
    """Return the names of the data sets that were imported into a data directory."""
    names = (path.parent.name for path in data_dir.glob(f"*/{MANIFEST}"))
    return sorted(
        name for name in names if name not in {*DATASETS, *FINISHED, *IMPRESSIONS} and re.fullmatch(OWN_NAME, name)
    )


def _own_dataset(name: str, manifest: Path) -> DatasetSpec:
    """What the manifest of an imported data set says about it; raises `UserError` where it is damaged."""
    try:
        found = json.loads(manifest.read_text("utf-8"))
        steps, order = found["steps"], found["order_within_time"]
        if not (steps is None or (isinstance(steps, int) and steps > 0)) or not isinstance(order, bool):
            raise ValueError(f"steps {steps}, order_within_time {order}")
        expected = Counts(**found["counts"])
        return DatasetSpec(
            name=name, title=found["title"], licence=found["licence"], steps=steps, expected=expected, read=no_reader,
            order_within_time=order,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{manifest} is not the manifest of an imported data set ({type(error).__name__}: {error}): "
            f"delete {manifest.parent} and import it again"
        ) from error


def no_reader(data_dir: Path) -> RawInteractions:
    """The reader of an imported data set: what was imported is not read a second time."""
    raise UserError(f"a data set in {data_dir} lost its manifest: import it again with dien-bench import")


def prepare_dataset(name: str, data_dir: Path, report: Callable[[str], None] = print) -> Path:
    """Return the folder of the data set's canonical form, `data_dir/<name>`; it is made where it is missing.

    `report` is given the lines to show. Raises `UserError` where files cannot be had or are damaged, where the counts
    differ from the known ones, and where a raw file has changed since the table was made of it. A table that an older
    version of the reader made is made anew.
    """
    spec = get_dataset(name, data_dir)
    folder = Path(data_dir) / spec.name
    try:
        if _is_prepared(folder, spec):
            check_inputs(folder, Path(data_dir))
            return folder
        Path(data_dir).mkdir(parents=True, exist_ok=True)
        lock = Path(data_dir) / f".{spec.name}.lease"
        waiting = f"{spec.name}: waiting for {{}}, which is preparing it".format
        with removing_when_terminated(), locked(lock, lambda holder: report(waiting(holder))):
            if not _is_prepared(folder, spec):  # else another process has finished in the meantime
                if (folder / MANIFEST).exists():
                    report(
                        f"{spec.name}: version {_source_version(folder)} of the reader made the table that is there, "
                        f"this is version {spec.source_version}: made anew"
                    )
                report(f"{spec.name}: reading {spec.title}")
                if isinstance(spec, ImpressionSpec):
                    _write_impressions(spec, folder, report)
                elif isinstance(spec, FinishedSpec):
                    _write_finished(spec, folder, report)
                else:
                    _write_interactions(spec, folder, report)
    except OSError as error:
        raise cannot_write(f"to {data_dir}", error, "choose another data directory") from error
    return folder


def _write_interactions(spec: DatasetSpec, folder: Path, report: Callable[[str], None]) -> None:
    raw = spec.read(folder.parent)
    for note in raw.notes:
        report(f"{spec.name}: {note}")
    report(f"{spec.name}: {check_counts(raw, spec)}")
    write_interactions(raw, spec, folder)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Give a temporary folder; what a preparation of this data set left that was killed is removed."""
    for left in folder.parent.glob(f".{folder.name}.*.scratch"):
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", suffix=".scratch", dir=folder.parent) as scratch:
        yield Path(scratch)


def _write_impressions(spec: ImpressionSpec, folder: Path, report: Callable[[str], None]) -> None:
    with _scratch(folder) as scratch:
        log = spec.read(folder.parent, scratch)
        for note in log.notes:
            report(f"{spec.name}: {note}")
        report(f"{spec.name}: {', '.join(f'{count:,} {what}' for what, count in counts_of(log).items())}")
        write_impressions(log, spec, folder)


def _write_finished(spec: FinishedSpec, folder: Path, report: Callable[[str], None]) -> None:
    with _scratch(folder) as scratch:
        rows = spec.read(folder.parent, scratch)
        for note in rows.notes:
            report(f"{spec.name}: {note}")
        known = ", ".join(f"{count:,} {what}" for what, count in spec.expected.items())
        found = ", ".join(f"{count:,} {what}" for what, count in rows.counts.items())
        report(f"{spec.name}: {found} - exactly the known {known}")
        write_finished(rows, spec, folder)


def _is_prepared(folder: Path, spec: AnySpec) -> bool:
    """Whether a folder holds the table of a data set, as its reader of today makes it."""
    return (folder / MANIFEST).exists() and _source_version(folder) == spec.source_version


def _source_version(folder: Path) -> int:
    version: int = load_manifest(folder).get("source_version", 1)  # the first had no number
    return version


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
    near = wrong == ["categories"] and 0.5 < found["categories"] / expected["categories"] < 2
    if near and not spec.categories_are_exact:
        return f"{line} - as known, except that the paper prints {expected['categories']:,} categories"
    left_out = f" {raw.malformed:,} malformed lines were left out." if raw.malformed else ""
    files = ", ".join(entry["file"] for entry in raw.inputs)
    raise UserError(
        f"{spec.name} has other {' and '.join(wrong)} than it should:\n"
        f"  found    {line}\n  expected {spec.expected}\n"
        f"The files read ({files}) are not those of the release.{left_out} "
        f"Replace them by the originals and run the command again."
    )
