"""`--config FILE`: the options of a command from a file, and `--print-config`: the file that gives the command back.

A file has the names of options as keys. The config.json of a run is such a file: its `dataset`, `model` and `seed` are
the only one of `datasets`, `models` and `seeds`, and its `settings` are verified.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmark.cli.options import names_of
from datamodules.errors import UserError, unknown_name

OF_A_RUN = {"dataset": "datasets", "seed": "seeds", "model": "models"}  # field of config.json -> option
CONFIGS = Path(__file__).parent / "configs"  # of published results
NO_KEYS = ("config", "print_config", "help")


def use_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make what a file says the defaults of a command's options: the command line and the environment come first."""
    if path is not None:
        from benchmark.runs.config import config_from, read_config  # here: it imports torch

        path = _named(path)
        values = read_config(path)
        if values.get("settings"):
            config_from(values, path)
        context.default_map = defaults_of(values, context, path)
    return path


def _named(path: Path) -> Path:
    """The file that comes with the suite under a plain name, where no file of that name is here."""
    named = CONFIGS / f"{path}.yaml"
    return named if path.name == str(path) and not path.exists() and named.is_file() else path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Options from a YAML or JSON file, such as the config.json of a run, or a name that comes with the suite "
        "(electronics-x1-bars); those given here come first.",
        callback=use_config,
        is_eager=True,
    ),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Only print the YAML file that gives this command back.")
]


def defaults_of(values: Mapping[str, Any], context: typer.Context, path: Path) -> dict[str, Any]:
    """Return the defaults of a command's parameters that a file's values stand for.

    Raises UserError for a key that is no option or stands twice, and for a value that is not one, or a list of them.
    """
    known, defaults = parameters_of(context), dict[str, Any]()
    for key, value in values.items():
        if key == "settings" or value is None:
            continue
        name = key.replace("-", "_")
        if name in OF_A_RUN and isinstance(value, (str, int)) and len(names_of(str(value))) == 1:
            name = OF_A_RUN[name]
        if name not in known:
            raise UserError(f"{path}: {unknown_name('option', key, known)}")
        parameter = known[name]
        if parameter.name in defaults:
            raise UserError(f"{path}: {key!r} stands twice, under two names: remove one")
        defaults[parameter.name] = _given(key, value, parameter, path)
    return defaults


def as_yaml(context: typer.Context) -> str:
    """Return the file that gives a command back with all of its options, those that were left out included."""
    values = {key: context.params[parameter.name] for key, parameter in parameters_of(context).items()}
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
    return yaml.safe_dump(
        {key: value for key, value in plain.items() if value not in (None, [], ())}, sort_keys=False, allow_unicode=True
    )


def parameters_of(context: typer.Context) -> dict[str, Any]:
    """Return the parameters of a command by the key of a file: the long option, with _ for -."""
    found = ((parameter, max(parameter.opts, key=len)) for parameter in context.command.params)
    named = {option.removeprefix("--").replace("-", "_"): parameter for parameter, option in found}
    return {key: parameter for key, parameter in named.items() if key not in NO_KEYS}


def _given(key: str, value: Any, parameter: Any, path: Path) -> Any:
    """Return a value as the command line would have it: text, which the command then reads, or a flag."""
    many = value if isinstance(value, list) else [value]
    if not all(isinstance(one, (str, int, float)) for one in many):
        raise UserError(f"{path}: {key} is {value!r:.80}, expected one value, or a list of them")
    if getattr(parameter, "is_flag", False):
        return value
    texts = [str(one) for one in many]
    return texts if parameter.multiple else " ".join(texts)
