"""The source that decides a run's numbers, as one hash: what trains it, and the model with all that it imports.

Imports are read from the source and followed inside baselines/ and datamodules/, and for a model of your own to files
beside it. So a change to one row, or a new row, leaves the others what they are. Files have no names in the hash: the
same file under another path is the same model.
"""

import ast
import gc
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from baselines import MODELS, file_hash, installed, model_label
from baselines.spec import parse_spec
from benchmark.records.record import Record
from datamodules.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("baselines", "datamodules")
TABLE = "baselines/__init__.py"  # names every row: followed only where a model of your own imports from it itself
TRAINS = ("baselines/lightning_module.py", "datamodules/datamodule.py")  # what every run goes through
# What decides no number, or only the samples, whose hash stands beside this one.
ELSEWHERE = (
    "baselines/contract",
    "datamodules/datasets",
    "datamodules/errors",
    "datamodules/files",
    "datamodules/impression",
    "datamodules/interactions",
    "datamodules/samples/impressions",
    "datamodules/sources",
)
OTHER = {"protocol_hash": "protocol", "data_sha256": "samples", "code_sha256": "code"}
VERSIONS = ("torch", "pytorch-lightning", "numpy", "numba")
# A process keeps what it has loaded; the first parses a file each time, the second reads every installed package.
version, distributions = cache(metadata.version), cache(metadata.packages_distributions)


class Import(NamedTuple):
    """A module that a source names: by a dotted name, and for a relative import the folder that it begins in."""

    name: str
    folder: Path | None = None


def code_sha256(model: str) -> str:
    """Return the sha256 of the source and of the package versions that decide the numbers of a model's runs."""
    base, roots, parts = parse_spec(model).base, [], [f"{name} {_public(name)}" for name in VERSIONS]
    path_text, _, class_name = base.rpartition(":")
    if path_text:
        path = Path(path_text).resolve()
        start, roots = [path], list(_roots(path))
        parts.append(class_name)
    elif base in MODELS:
        start, row = [_file_of(base)], parse_spec(MODELS[base])
        parts.append(f"{row.base.partition(':')[2]} {list(row.options.items())}")
    else:
        entry = installed()[base]
        start = _files_of_package(entry.module.partition(".")[0])
        parts.append(entry.value)
    files, foreign = _followed([*start, *(ROOT / name for name in TRAINS)], roots)
    parts += [f"{name} {version(name)}" for name in foreign]
    parts += sorted((_loaded if _ours(path) else _read)(path)[0] for path in files)
    return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()


def check_identity(
    found: Record, model: str, protocol_hash: str, data_sha256: str | None, versions: dict[str, str]
) -> None:
    """Raise `UserError` where a run was trained under another protocol, on other samples or by other code than now.

    The samples pass where they are not made yet.
    """
    now = {"protocol_hash": protocol_hash, "data_sha256": data_sha256, "code_sha256": code_sha256(model)}
    for name, wanted in now.items():
        there = getattr(found, name)
        if wanted in (None, there):
            continue
        changed = [name for name in VERSIONS if _cut(found.versions.get(name, "")) != _cut(versions[name])]
        packages = "".join(f"; {name} {found.versions.get(name)}, now {versions[name]}" for name in changed)
        raise UserError(
            f"{found.path.parent} holds a run of other {OTHER[name]} ({name} {there[:8]}, now {wanted[:8]}; commit of "
            f"that run: {found.commit or 'not known'}{packages}), and seeds of both would become one row. Choose "
            f"another output folder (OUT=..., --out ...), move {found.path.parent.parent} away to train the row again, "
            f"remove all its seeds and train them again with --fresh, or restore the {OTHER[name]}"
        )


def check_files(records: Iterable[Record], models: Iterable[str]) -> None:
    """Raise `UserError` where records have the label of one of `models` and are of another file than it names."""
    try:
        wanted = {model_label(model): (model, file_hash(model).get("model_sha256")) for model in models}
    except OSError as error:
        raise UserError(
            f"cannot read the model's file {error.filename}: {error.strerror}. Name the file:Class"
        ) from error
    for record in records:
        model, sha256 = wanted.get(record.model, ("", None))
        found = record.settings.get("model_sha256")
        if sha256 not in (None, found):
            raise UserError(
                f"{record.path.parent} is a run of another file than {model}, under the same name {record.model!r}: "
                f"{record.settings.get('model')}, model_sha256 {str(found)[:8]}, expected {str(sha256)[:8]}. Name the "
                "file as it was when it was run, or another output folder (--out ...)"
            )


def _followed(start: list[Path], roots: list[Path]) -> tuple[set[Path], list[str]]:
    """Return the files that `start` come to by imports, and the other packages that files of the user's own import."""
    files, foreign, waiting = set[Path](), set[str](), list(start)
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.add(path)
        if path == ROOT / TABLE:  # its `load` may give any row
            waiting += map(_file_of, MODELS)
        if _ours(path):
            waiting += _loaded(path)[1]
            continue
        for found in _read(path)[1]:
            paths = _paths(found, roots)
            waiting += [one for one in paths if _counts(one, with_table=len(paths) == 1)]
            if not paths and not found.folder:
                foreign.add(found.name.partition(".")[0])
    others = foreign - sys.stdlib_module_names - {*PACKAGES, *(name.replace("-", "_") for name in VERSIONS)}
    known = distributions() if others else {}
    return files, sorted({name for other in others for name in known.get(other, [])})


def _file_of(row: str) -> Path:
    return ROOT / f"{MODELS[row].partition(':')[0].replace('.', '/')}.py"


def _paths(found: Import, roots: list[Path]) -> list[Path]:
    """Return the files of a module and of the packages above it, from the first folder that has any."""
    parts = found.name.split(".")
    for folder in [found.folder] if found.folder else [*roots, *([ROOT] if parts[0] in PACKAGES else [])]:
        places = [folder.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
        paths = [path for place in places for path in (place.with_suffix(".py"), place / "__init__.py")]
        if there := [path.resolve() for path in paths if path.is_file()]:
            return there
    return []


def _counts(path: Path, with_table: bool) -> bool:
    if not _ours(path):
        return True
    name = path.relative_to(ROOT).as_posix()
    return not name.startswith(ELSEWHERE) and (with_table or name != TABLE)


def _ours(path: Path) -> bool:
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES


def _roots(path: Path) -> Iterator[Path]:
    """Yield the folders that a file's imports are looked up in: its own, and the one above its package."""
    yield path.parent
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    if folder != path.parent:
        yield folder


def _files_of_package(name: str) -> list[Path]:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {name!r} has no source to be hashed, expected Python files: install it again")
    path = Path(spec.origin).resolve()
    return sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def syntax_of(source: str | bytes) -> ast.Module:
    """Return the syntax tree of a source; raises SyntaxError or ValueError.

    CPython 3.11 raises SystemError where another thread builds a tree meanwhile, as one that prints a traceback does.
    Threads change while a tree is built only where garbage collection runs a finaliser.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if collecting:
            gc.enable()


def _read(path: Path) -> tuple[str, tuple[Import, ...]]:
    """Return the hash of a file and its imports."""
    content = path.read_bytes()
    try:
        nodes = list(ast.walk(syntax_of(content)))
    except (SyntaxError, ValueError):  # whoever loads it says so
        nodes = []
    return hashlib.sha256(content).hexdigest(), tuple(found for node in nodes for found in _imports(node, path))


@cache
def _loaded(path: Path) -> tuple[str, tuple[Path, ...]]:
    """Return the hash of a file of the suite and the files that it imports: kept, for a process has loaded its code."""
    sha256, imports = _read(path)
    return sha256, tuple(one for found in imports for one in _paths(found, []) if _counts(one, with_table=False))


def _imports(node: ast.AST, path: Path) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        folder = path.parents[node.level - 1] if node.level else None
        yield from (Import(f"{node.module or ''}.{alias.name}".strip("."), folder) for alias in node.names)
        if folder:  # what the package itself does
            yield Import("__init__", folder)


def _public(package: str) -> str:
    return _cut(version(package))


def _cut(version: str) -> str:
    """A version without what only says for which device it was built: the device is no part of a run's identity."""
    return version.partition("+")[0]
