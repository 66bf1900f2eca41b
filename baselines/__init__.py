"""The rows of the tables: one literal table of names, and nothing else to register."""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from baselines import spec
from baselines.base_model import BaseModel
from baselines.dien import DIEN
from baselines.din import DIN
from baselines.gru_attention import GRUAttention
from baselines.pnn import PNN
from baselines.spec import TRAINING, parse_spec
from baselines.wide_deep import WideDeep
from datamodules.errors import UserError, unknown_name

# Called with users, items, categories (rows of each table, row 0 included) and variant.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "base-model": BaseModel,
    "wide-deep": WideDeep,
    "pnn": PNN,
    "din": DIN,
    "gru-attention": GRUAttention,
    "aigru": partial(DIEN, evolution="aigru", auxiliary_weight=0.0),
    "agru": partial(DIEN, evolution="agru", auxiliary_weight=0.0),
    "augru": partial(DIEN, evolution="augru", auxiliary_weight=0.0),
    "dien": DIEN,
}


def load(name: str) -> Callable[..., nn.Module]:
    """Return what makes a model: a row by its name, or a class of the user's own as "path/to/file.py:Class".

    Options of the model stand behind it, as in "dien+auxiliary_weight=0.5" (`baselines.spec`). Raises `UserError` for
    an unknown row or option, a missing file or class. A file given by path is run: it is your code.
    """
    row = parse_spec(name)
    if ":" in row.base:
        model: Callable[..., nn.Module] = _load_class(row.base)
    elif row.base in MODELS:
        model = MODELS[row.base]
    else:
        raise unknown_name("model", row.base, MODELS)
    options = row.options_of(training=False)
    parameters = inspect.signature(model).parameters
    known = [key for key in parameters if key not in ("users", "items", "categories", "variant")]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {row.base}", option, [*known, *TRAINING])
    return partial(model, **options) if options else model


def _load_class(name: str) -> type[nn.Module]:
    path_text, _, class_name = name.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise UserError(f"model file {path} does not exist; expected 'path/to/file.py:Class', got {name!r}")
    module_name = f"user_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file; expected 'path/to/file.py:Class', got {name!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    model = getattr(module, class_name, None)
    if not (isinstance(model, type) and issubclass(model, nn.Module)):
        classes = [
            key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        raise UserError(f"{path} holds no model class {class_name!r}; it holds: {', '.join(classes) or 'none'}")
    return model


def model_label(name: str) -> str:
    """The name of a row in paths and tables; see `baselines.spec.model_label`."""
    return spec.model_label(name, set(MODELS))
