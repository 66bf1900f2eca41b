"""The rows of the tables: one literal table of names; further ones come from files and from installed packages.

A package adds rows by name with entry points: in its pyproject.toml,

    [project.entry-points."dien_bench.models"]
    my-row = "my_package.my_module:MyModel"
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from baselines import spec
from baselines.spec import TRAINING, parse_spec
from datamodules.errors import UserError, unknown_name

if TYPE_CHECKING:  # a command that only names rows does not wait for torch
    from torch import nn

ENTRY_POINTS = "dien_bench.models"
TUNED = "tuned"  # the option that says by which search a row's other options were chosen; no model sees it
# A class, called with a Schema and variant, and the options that make the row of it.
MODELS = {
    "base-model": "baselines.base_model:BaseModel",
    "wide-deep": "baselines.wide_deep:WideDeep",
    "pnn": "baselines.pnn:PNN",
    "din": "baselines.din:DIN",
    "gru-attention": "baselines.gru_attention:GRUAttention",
    "aigru": "baselines.dien:DIEN+evolution=aigru+auxiliary_weight=0.0",
    "agru": "baselines.dien:DIEN+evolution=agru+auxiliary_weight=0.0",
    "augru": "baselines.dien:DIEN+evolution=augru+auxiliary_weight=0.0",
    "dien": "baselines.dien:DIEN",
    "dien-rocket": "baselines.dien_rocket:DIENRocket",
}


def load(name: str) -> "Callable[..., nn.Module]":
    """Return what makes a model: a row by its name, or a class of the user's own as "path/to/file.py:Class".

    A name is one of `MODELS` or of an installed package's entry points.

    Options of the model stand behind it, as in "dien+auxiliary_weight=0.5" (`baselines.spec`). Raises `UserError` for
    an unknown row or option, a missing file or class. A file given by path is run: it is your code.
    """
    row = parse_spec(name)
    if ":" in row.base:
        model = _load_class(row.base)
    elif row.base in MODELS:
        model = _load_row(MODELS[row.base])
    elif row.base in installed():
        model = _load_installed(installed()[row.base])
    else:
        raise unknown_name("model", row.base, [*MODELS, *installed()])
    options = {option: value for option, value in row.options_of(training=False).items() if option != TUNED}
    parameters = inspect.signature(model).parameters
    known = [key for key in parameters if key not in ("schema", "variant")]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {row.base}", option, [*known, *TRAINING])
    return partial(model, **options) if options else model


@cache
def installed() -> dict[str, EntryPoint]:
    """Return the rows that installed packages add, by name; raises `UserError` for a name that cannot be a row's.

    A package cannot replace a row of the suite, nor two packages share a name: records would not tell them apart.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        package = entry.dist.name if entry.dist else "a package"
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", entry.name):
            raise UserError(f"{package} adds a model named {entry.name!r}, expected small letters, digits, '-', '_'")
        if entry.name in MODELS or (entry.name in found and found[entry.name].value != entry.value):
            raise UserError(f"{package} adds a model {entry.name!r}, which is there already: uninstall one of the two")
        found[entry.name] = entry
    return found


def _load_row(text: str) -> "Callable[..., nn.Module]":
    row = parse_spec(text)
    module, _, class_name = row.base.partition(":")
    model: Callable[..., nn.Module] = getattr(importlib.import_module(module), class_name)
    return partial(model, **row.options) if row.options else model


def _load_installed(entry: EntryPoint) -> "Callable[..., nn.Module]":
    try:
        model: Callable[..., nn.Module] = entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else "a package"
        raise UserError(
            f"the model {entry.name!r} of {package} cannot be loaded from {entry.value}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return model


def _load_class(name: str) -> "Callable[..., nn.Module]":
    from torch import nn

    path_text, _, class_name = name.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise UserError(f"model file {path} does not exist; expected 'path/to/file.py:Class', got {name!r}")
    module = _module_of(path)
    module_name = module.__name__
    model = getattr(module, class_name, None)
    if not (isinstance(model, type) and issubclass(model, nn.Module)):
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module_name]
        classes = [value.__name__ for value in own if isinstance(value, type) and issubclass(value, nn.Module)]
        raise UserError(f"{path} holds no model class {class_name!r}; it holds: {', '.join(classes) or 'none'}")
    return model


def _module_of(path: Path) -> ModuleType:
    """Return the module of a user's file, run anew; its imports find the files beside it first, as in a script.

    Its name has a hash of its path, so that two files of one name stay apart, here and in a pickle.
    """
    folder = path.resolve().parent
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"user_model_{path.stem}_{place}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file; expected 'path/to/file.py:Class'")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with _imports_from(folder):
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise UserError(f"the model file {path} cannot be run: {type(error).__name__}: {error}") from error
    return module


@contextmanager
def _imports_from(folder: Path) -> Iterator[None]:
    """Imports inside the block find files of a folder first; later ones, inside functions, find them last.

    Modules that came from the folder of an earlier block are forgotten: this folder may have others of their names.
    """
    for earlier, before in _folders.items():
        for name in {name.partition(".")[0] for name in sys.modules} - before:
            if any((earlier / place).exists() for place in (f"{name}.py", name)):
                _forget(name)
        sys.path[:] = [place for place in sys.path if place != str(earlier)]
    _folders.clear()
    importlib.invalidate_caches()
    _folders[folder] = {name.partition(".")[0] for name in sys.modules} | {"baselines", "benchmark", "datamodules"}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.path.append(str(folder))


_folders: dict[Path, set[str]] = {}  # of the user's file that was run last -> top-level modules that were there before


def _forget(top: str) -> None:
    """Make a top-level module and all below it import anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] == top]:
        del sys.modules[name]


def file_hash(name: str) -> dict[str, str]:
    """What tells one state of a model's file from another: its sha256 for "path/to/file.py:Class", else nothing."""
    path, colon, _ = parse_spec(name).base.rpartition(":")
    return {"model_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()} if colon else {}


def model_label(name: str) -> str:
    """The name of a row in paths and tables, as `baselines.spec.model_label`; one with searched options is "+tuned".

    >>> model_label("dien+auxiliary_weight=0.5"), model_label("dien+auxiliary_weight=0.5+tuned=20-0123456789ab")
    ('dien+auxiliary_weight=0.5', 'dien+tuned')
    """
    row, rows = parse_spec(name), {*MODELS, *installed()}
    if TUNED in row.options:
        return f"{spec.model_label(row.base, rows)}+{TUNED}"
    return spec.model_label(name, rows)
