"""A file for a model of one's own, and its test: copies of `benchmark/templates` under another name."""

import re
from importlib.resources import files
from pathlib import Path

from baselines import MODELS, installed
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

TEMPLATE = ("target_attention", "TargetAttention")  # file and class, as the templates have them


def new_model(name: str, folder: Path) -> list[Path]:
    """Write FOLDER/name.py and FOLDER/test_name.py, and return both paths.

    Raises `UserError` for a name that is no row's name or taken, and where one of the files is there already.
    """
    stem = name.replace("-", "_")
    class_name = class_of(stem)
    _check_name(name, class_name)
    written = {folder / f"{stem}.py": _template("model.py"), folder / f"test_{stem}.py": _template("check.py")}
    for path in written:
        if path.exists():
            raise UserError(f"{path} is there already and stays as it is: choose another name or --folder")
    for path, text in written.items():
        text = text.replace(TEMPLATE[1], class_name).replace(TEMPLATE[0], stem)
        write_atomically(path, text.encode())
    return list(written)


def class_of(stem: str) -> str:
    """The class in the file of a name.

    >>> class_of("my_model")
    'MyModel'
    """
    return "".join(word.capitalize() for word in stem.split("_"))


def _template(name: str) -> str:
    return files("benchmark.templates").joinpath(name).read_text("utf-8")


def _check_name(name: str, class_name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name) or len(name) > 40:
        raise UserError(f"a model cannot be named {name!r}, expected small letters, digits and hyphens: as my-model")
    if name in MODELS or class_name.lower() in MODELS or name in installed():
        raise UserError(f"{name} is a row already, expected a name of its own: as my-{name}")
    used = _template("model.py") + _template("check.py")
    if class_name != TEMPLATE[1] and re.search(rf"\b{class_name}\b", used):
        raise UserError(f"the class of {name} would be {class_name}, which the file itself uses: as my-{name}")
