"""What a run is: all that decides its numbers, where it lies, and where it stands; and a run from a file."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from baselines import MODELS, TUNED, file_hash, load, model_label
from baselines.spec import LEARNING_RATE, Epsilon, parse_spec
from benchmark.runs.device import Device, check_device
from benchmark.tracking.trackers import TrackedRun, Tracker, check_tracker
from datamodules.datasets import check_fits, get_dataset
from datamodules.errors import UNSHOWN, UserError, printable, unknown_name
from datamodules.protocol import BATCH_SIZE, OF_IMPRESSIONS, AuxiliaryDraws, AuxiliaryNegatives, get_protocol
from datamodules.samples.vocabulary import UnknownUser
from datamodules.schema import Schema

if TYPE_CHECKING:
    from datamodules.datamodule import InteractionsDataModule

EVALUATE_EVERY = 100  # steps, as the released code (variants.md 17); at least as many on logs of impressions
EVALUATIONS_A_PASS = 20  # at most, on logs of impressions, of which one pass may have many thousand steps
LOG_EVERY = 20  # steps
CHECKPOINT = "checkpoint.pt"  # in the folder of a run, until its record is there
CHECKPOINT_EVERY = 60.0  # seconds between two


@dataclass(frozen=True)
class RunConfig:
    """All that decides a run's numbers (identity and settings), and where things lie.

    The device is no part of either: it changes rounding alone, the record names it, and a run that was finished on
    one device counts as finished on another.
    """

    dataset: str
    protocol: str
    model: str
    variant: Literal["official", "paper"]
    seed: int
    steps: int | None = None  # optimiser steps; None: the data set's budget
    batch_size: int = BATCH_SIZE
    learning_rate: float = LEARNING_RATE
    data_dir: str = "data"
    out: str = "runs"
    logger: Tracker = "csv"
    device: Device = "auto"
    devices: int = 1  # processes that share each batch
    checkpoint_seconds: float = CHECKPOINT_EVERY  # between two checkpoints; 0: one at every evaluation

    def check_sizes(self) -> None:
        """Raise `UserError` unless steps and batch size are at least 1."""
        for name, value in (("steps", self.steps), ("batch size", self.batch_size)):
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")

    def check(self) -> None:
        """Raise `UserError` unless every name is known and every number possible."""
        check_fits(get_dataset(self.dataset, Path(self.data_dir)), get_protocol(self.protocol))
        if UNSHOWN.search(self.model):  # its record could not be shown
            raise UserError(
                f"the model's name {printable(self.model)!r} has characters that do not show: rename the file"
            )
        row = parse_spec(self.model)
        if row.base.endswith(f"+{TUNED}"):
            raise UserError(
                f"{self.model} stands in tables for the options that a search chose, and they are not in this name: "
                f"dien-bench tune --models {row.base.removesuffix(f'+{TUNED}')} searches and trains them, and prints "
                f"the name with them, dien+...+{TUNED}=..."
            )
        options = row.options_of(training=False)
        # A row as the suite has it is known without torch, which takes a second to import.
        model = None if row.base in MODELS and not options else load(self.model)
        if self.variant not in ("official", "paper"):
            raise UserError(f"unknown variant '{self.variant}'. Known: official, paper")
        self.check_sizes()
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed must be between 0 and 2**32 - 1, got {self.seed}")
        check_device(self.device)
        self._check_devices()
        check_tracker(self.logger)
        self._check_training()
        if model and options:
            try:  # whether the options have values that the model takes, before anything is trained
                model(Schema(user={"user": 2}, behaviour={"item": 2, "category": 2}), variant=self.variant)
            except (TypeError, ValueError) as error:
                raise UserError(f"{self.model}: {error}") from error

    def _check_training(self) -> None:
        """Raise `UserError` unless the options of training have values that exist."""
        settings = self.settings()
        known: dict[str, Sequence[object]] = {
            "auxiliary_negatives": [name for name in get_args(AuxiliaryNegatives) if name != "none"],
            "auxiliary_draws": get_args(AuxiliaryDraws),
            "shuffle": (True, False),
            "pairs_together": (True, False),
            "unknown_user": get_args(UnknownUser),
            "adam_epsilon": get_args(Epsilon),
        }
        for name, values in known.items():
            found = settings.get(name)
            number = type(found) in (int, float)  # 1 equals True, and would be another name for it
            if name in settings and (number or found not in values):
                raise unknown_name(name, str(settings[name]), [str(value).lower() for value in values])
        if settings["auxiliary_negatives"] == "unclicked" and get_protocol(self.protocol).name not in OF_IMPRESSIONS:
            raise UserError(
                f"auxiliary_negatives=unclicked needs impressions, protocol {self.protocol} has none: use popularity, "
                "uniform or own"
            )
        rate = settings["learning_rate"]
        if isinstance(rate, (bool, str)) or not 0 < rate < math.inf:
            raise UserError(f"learning_rate must be a positive number, got {rate}")

    def _check_devices(self) -> None:
        """Raise `UserError` where a share of a batch is not to be had, or would not be a share of the loss."""
        if self.devices < 1:
            raise UserError(f"devices must be at least 1, got {self.devices}")
        spec = parse_spec(self.model)
        if self.devices > 1 and (spec.base not in MODELS or spec.options.get("auxiliary_mean") == "behaviours"):
            raise UserError(
                f"--devices {self.devices} splits each batch, and the loss of {self.model} is not known to be the mean "
                "of its parts' (a model of your own, or auxiliary_mean=behaviours): use --devices 1"
            )

    @property
    def row(self) -> str:
        """Model and variant, as in paths."""
        return f"{model_label(self.model)}-{self.variant}"

    @property
    def name(self) -> str:
        """Path of the run below the output folder."""
        return f"{self.dataset}/{self.protocol}/{self.row}/seed-{self.seed}"

    def folder(self) -> Path:
        """Where the run lies."""
        return Path(self.out) / self.name

    def tracked(self, settings: dict[str, Any], data_sha256: str = "") -> TrackedRun:
        """What trackers are told of the run: the settings that it was started with, and the hash of its samples."""
        return TrackedRun(
            tracker=self.logger,
            out=Path(self.out),
            folder=self.folder(),
            name=self.name,
            group=f"{self.dataset}/{self.protocol}/{self.row}",
            tags=(self.dataset, self.protocol, self.variant, self.row.partition("+")[0]),
            config=asdict(self) | {"row": self.row, "data_sha256": data_sha256, "settings": settings},
        )

    def settings(self) -> dict[str, Any]:
        """What besides the identity decides the numbers."""
        official, shown = self.variant == "official", get_protocol(self.protocol).name in OF_IMPRESSIONS
        return {
            "model": self.model,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "shuffle": self.variant == "paper" or shown,  # variants.md 14: the released code does not
            "auxiliary_negatives": "unclicked" if shown else "popularity" if official else "uniform",  # variants.md 18
            "pairs_together": True,  # variants.md 21
            "unknown_user": "most-frequent" if official else "own",  # variants.md 19
            "adam_epsilon": "tensorflow" if official else "torch",  # variants.md 22
            **self._options(),
            **file_hash(self.model),
        }

    def _options(self) -> dict[str, Any]:
        """The options of the row that its label does not say: those of training, and all of a tuned row."""
        row = parse_spec(self.model)
        return row.options if TUNED in row.options else row.options_of(training=True)


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    step: int
    steps: int
    loss: float
    auc: float | None  # newest test AUC


def lock_of(config: RunConfig) -> Path:
    """The lock that whoever trains a run holds."""
    return config.folder() / ".lease"


def data_of(config: RunConfig) -> "InteractionsDataModule":
    """What a run trains on."""
    from datamodules.datamodule import InteractionsDataModule  # here: Lightning takes seconds to import

    settings = config.settings()
    return InteractionsDataModule(
        config.dataset,
        config.protocol,
        data_dir=config.data_dir,
        steps=config.steps,
        batch_size=config.batch_size,
        shuffle=settings["shuffle"],
        auxiliary_negatives=settings["auxiliary_negatives"],
        auxiliary_draws=settings.get("auxiliary_draws", "fresh"),
        pairs_together=settings["pairs_together"],
        unknown_user=settings["unknown_user"],
        seed=config.seed,
    )


def evaluation_interval(data: "InteractionsDataModule") -> int:
    """Steps between two evaluations of a run; `data` must be set up."""
    if data.protocol.name not in OF_IMPRESSIONS:
        return EVALUATE_EVERY
    size: int = data.hparams["batch_size"]
    return max(EVALUATE_EVERY, -(-len(data.ready.train) // size) // EVALUATIONS_A_PASS)


def read_config(path: Path) -> dict[str, Any]:
    """Return what a YAML file, or a JSON file named so, holds by key; raises UserError unless its keys are names."""
    try:
        text = path.read_text("utf-8")
        found = json.loads(text, object_pairs_hook=_once) if path.suffix == ".json" else yaml.load(text, _Loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}. Expected YAML or JSON, one 'name: value' a line.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds {str(found)[:40]!r}, expected names with values: one 'name: value' a line.")
    return found


def config_from(values: Mapping[str, Any], source: PathLike[str] | str = "the config") -> RunConfig:
    """Return the run of a config: fields of `RunConfig` by name, and `settings` as a run's config.json has them.

    Raises UserError, naming the source, for a field that is unknown, missing or of a wrong type, and where this
    checkout would train the run with other settings than those.
    """
    known = [field.name for field in fields(RunConfig)]
    for name in values:
        if name not in (*known, "settings"):
            raise UserError(f"{source}: {unknown_name('field', name, known)}")
    try:
        config = TypeAdapter(RunConfig).validate_python({name: values[name] for name in known if name in values})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{source}: {place}: {first['msg']}, found {first['input']!r:.80}") from error
    if isinstance(settings := values.get("settings", {}), Mapping):
        _check_settings(config, settings, source)
        return config
    raise UserError(f"{source}: settings is {settings!r:.80}, expected names with values, as a run's config.json has")


def _check_settings(config: RunConfig, settings: Mapping[str, Any], source: PathLike[str] | str) -> None:
    """Raise UserError where `config` would be trained with other settings now: by another file, or other defaults."""
    if not settings:
        return
    load(config.model)  # says so where the file is gone
    for name, now in config.settings().items():
        if name not in ("model", "steps") and settings.get(name) != now:
            raise UserError(
                f"{source} is of a run with {name} = {settings.get(name)}, which would have {now} now: restore what it "
                "was trained with, or remove 'settings' from the file for another run"
            )


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice: the first of its values would be ignored."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        return _once(self.construct_pairs(node, deep=True))


def _once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if not isinstance(name, str):
            raise ValueError(f"the key {name!r} is no name")
        if name in found:
            raise ValueError(f"the key {name!r} stands twice")
        found[name] = value
    return found
