"""A search over the options of a row with Optuna: on validation samples, repeatable, and resumed where it stopped.

Each trial is chosen by Optuna's TPE sampler, seeded with the search's seed and the trial's number, from the trials of
earlier rounds; a round is what is trained side by side. So a search that was interrupted goes on to the same trials,
and a longer one begins with those of a shorter one. The first trial has the row's defaults, as far as the space holds
them.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import model_label
from baselines.spec import Value, parse_spec
from benchmark.executors.sweep import sweep
from benchmark.records.record import run_folder
from benchmark.records.tuning import FILE, TUNED, Trial, Tuning, read_tuning, write_tuning
from benchmark.runs.config import RunConfig, data_of
from benchmark.runs.device import visible_gpus
from benchmark.runs.identity import code_sha256
from benchmark.tuning.space import DIGITS, Choices, Range, Space, defaults_of, with_options
from benchmark.tuning.trial import check_validation, train_trial
from datamodules.errors import UserError
from datamodules.files.lock import locked

if TYPE_CHECKING:
    import optuna

JOURNAL = "trials.log"
Outcome = dict[str, Any] | str  # what `train_trial` returns, or why it failed
Train = Callable[[Sequence[RunConfig]], list[Outcome]]


@dataclass(frozen=True)
class Search:
    """What is searched: the run that options are chosen for, the space, and how much is tried."""

    config: RunConfig  # its model has no options
    space: Space
    trials: int
    at_once: int = 1  # trials that are trained side by side

    def check(self) -> None:
        """Raise `UserError` for a protocol without validation samples, and for a space that the row does not take."""
        self.config.check()
        check_validation(self.config.protocol)
        if parse_spec(self.config.model).options:
            raise UserError(
                f"{self.config.model} has options already, and a search chooses them: name the row alone, and a fixed "
                "value in the space, as in --space 'learning_rate auxiliary_head=mlp'"
            )
        if self.trials < 1 or self.at_once < 1:
            raise UserError(f"a search needs at least 1 trial at a time, got {self.trials} and {self.at_once}")
        for name, values in self.space.items():
            for value in values.ends:
                self.with_options({name: value}).check()

    @property
    def folder(self) -> Path:
        """Where its journal lies."""
        config = self.config
        return Path(config.out) / "tuning" / config.dataset / config.protocol / config.row

    @property
    def result(self) -> Path:
        """The file that it leaves, beside the seeds of the tuned row."""
        config, model = self.config, f"{model_label(self.config.model)}+{TUNED}"
        return run_folder(Path(config.out), config.dataset, config.protocol, model, config.variant, 0).parent / FILE

    @property
    def defaults(self) -> dict[str, Any]:
        """What the row's options are without a search; None: the model chooses."""
        return self.config.settings() | defaults_of(self.config.model)

    def of_defaults(self, tuning: Tuning) -> Trial | None:
        """The trial of the defaults; None where the space does not hold them all."""
        first, defaults = tuning.trials[0], self.defaults
        return first if all(defaults.get(name) == value for name, value in first.options.items()) else None

    def with_options(self, options: Mapping[str, Value]) -> RunConfig:
        """The run of a trial."""
        return replace(self.config, model=with_options(self.config.model, options), out=str(self.folder / "runs"))

    def tuned(self, tuning: Tuning, seed: int) -> RunConfig:
        """The run of the best trial's options for one seed."""
        options = dict(sorted({**tuning.best.options, TUNED: tuning.name}.items()))
        return replace(self.config, model=with_options(self.config.model, options), seed=seed)


def tune(search: Search, *, train: Train | None = None, say: Callable[[str], None] = print) -> Tuning:
    """Return the search, with all of its trials; those that are there already are not trained again.

    `train` trains runs side by side. Raises `UserError` where OUT holds another search of the row, or no trial
    finished.
    """
    search.check()
    _check_place(search.result, search.trials)
    data = data_of(search.config)
    data.prepare_data()
    data.setup()
    about = Tuning(
        dataset=search.config.dataset,
        protocol=search.config.protocol,
        protocol_hash=data.protocol.hash,
        data_sha256=data.ready.sha256,
        code_sha256=code_sha256(search.config.model),
        model=search.config.model,
        variant=search.config.variant,
        seed=search.config.seed,
        steps=data.steps,
        batch_size=search.config.batch_size,
        sampler=f"TPE of Optuna {_optuna().__version__}, the defaults first",
        at_once=search.at_once,
        space={name: str(values) for name, values in search.space.items()},
        trials=(),
    )
    search.folder.mkdir(parents=True, exist_ok=True)
    with locked(search.folder / ".lock", lambda holder: say(f"waiting for {holder}")), _study(search, about) as study:
        done = _finished(study)
        while len(done) < search.trials:
            asked = _round(study, search)
            _train_round(study, search, asked, train or train_in_processes)
            done = _finished(study)
            best = max((trial.validation_auc or 0.0 for trial in done), default=0.0)
            say(f"{model_label(search.config.model)}: {len(done)} of {search.trials} trials, best {best:.4f}")
    found = replace(about, trials=tuple(done[: search.trials]))
    _keep(search.result, found)
    return found


def train_in_processes(configs: Sequence[RunConfig]) -> list[Outcome]:
    """Train trials in a process each, and return how each one ended."""
    if not configs:
        return []
    found = sweep(
        configs,
        workers=len(configs),
        gpus=visible_gpus(configs[0].device),
        train=train_trial,
        finished=_nothing,
        note_failure=_not_noted,
        quiet=True,
    )
    records = iter(found.records)
    return [found.failed[config.name] if config.name in found.failed else next(records) for config in configs]


def _nothing(config: RunConfig) -> None:
    """A trial leaves no record."""


def _not_noted(config: RunConfig, reason: str, step: int) -> None:
    """Nor one of its failure: its search has the reason."""


def _check_place(path: Path, trials: int) -> None:
    """Raise `UserError` before a search of other length than the one that runs were trained for."""
    if path.is_file() and any(path.parent.glob("seed-*")) and len((there := read_tuning(path)).trials) != trials:
        raise UserError(
            f"{path.parent} holds runs of another search ({there.name}, asked for are {trials} trials): choose another "
            "output folder (--out ...), or move that one away"
        )


def _keep(path: Path, found: Tuning) -> None:
    """Write a search, unless the same, or a longer one that runs were trained for, is there."""
    if path.is_file() and (there := read_tuning(path)).name != found.name and any(path.parent.glob("seed-*")):
        raise UserError(
            f"{path.parent} holds runs of another search ({there.name}, now {found.name}): choose another output "
            "folder (--out ...), or move that one away"
        )
    write_tuning(path, found)


@contextmanager
def _study(search: Search, about: Tuning) -> "Iterator[optuna.Study]":
    """The study of a search, with the row's defaults as the first trial; refused where it is of another search."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = search.folder / JOURNAL
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.create_study(
        study_name="options",
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize",
        load_if_exists=True,
    )
    now = json.loads(json.dumps(asdict(about)))
    before = study.user_attrs.get("search", now)
    if differing := [name for name in now if before.get(name) != now[name]]:
        name = differing[0]
        raise UserError(
            f"{path} is of a search with {name} = {before.get(name)}, asked for was {now[name]}: choose another output "
            f"folder (--out ...), or move {search.folder} away"
        )
    study.set_user_attr("search", now)
    if not study.get_trials(deepcopy=False):
        defaults = search.defaults
        within = {name: defaults[name] for name, values in search.space.items() if defaults.get(name) in values}
        study.enqueue_trial(within)
    yield study


def _asked(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """The trials whose options are chosen."""
    waiting = _optuna().trial.TrialState.WAITING
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state != waiting]


def _round(study: "optuna.Study", search: Search) -> "list[optuna.trial.FrozenTrial]":
    """Choose the options of a round, those of an interrupted one first; return the trials to be trained."""
    optuna = _optuna()
    distributions = {name: _distribution(values) for name, values in search.space.items()}
    while True:
        asked = _asked(study)
        open_ones = [trial for trial in asked if trial.state == optuna.trial.TrialState.RUNNING]
        if len(asked) >= search.trials or (open_ones and len(asked) % search.at_once == 0):
            return open_ones
        study.sampler = optuna.samplers.TPESampler(seed=search.config.seed * 1_000_003 + len(asked))
        study.ask(distributions)


def _train_round(study: "optuna.Study", search: Search, asked: "list[optuna.trial.FrozenTrial]", train: Train) -> None:
    """Train what was not trained before, and note how every trial ended."""
    outcomes = study.user_attrs
    known = {_key(_options(t.params)): outcomes[_place(t)] for t in _asked(study) if t.state.is_finished()}
    options = [_options(trial.params) for trial in asked]
    new = {_key(one): search.with_options(one) for one in options if _key(one) not in known}
    known |= dict(zip(new, train(list(new.values())), strict=True))
    fail = _optuna().trial.TrialState.FAIL
    for trial, one in zip(asked, options, strict=True):
        outcome = known[_key(one)]
        study.set_user_attr(_place(trial), outcome)
        if isinstance(outcome, str):
            study.tell(trial.number, state=fail)
        else:
            study.tell(trial.number, outcome["auc"]["validation"])


def _finished(study: "optuna.Study") -> list[Trial]:
    """The trials that ended, in order."""
    found, outcomes = [], study.user_attrs
    for trial in _asked(study):
        if not trial.state.is_finished():
            break
        outcome, options = outcomes[_place(trial)], _options(trial.params)
        if isinstance(outcome, str):
            found.append(Trial(options=options, validation_auc=None, step=None, seconds=None, reason=outcome))
        else:
            auc, step, seconds = outcome["auc"]["validation"], outcome["step"], outcome["seconds"]
            found.append(Trial(options=options, validation_auc=auc, step=step, seconds=seconds))
    return found


def _place(trial: "optuna.trial.FrozenTrial") -> str:
    """Where a study keeps how a trial ended."""
    return f"outcome of trial {trial.number}"


def _options(params: Mapping[str, Any]) -> dict[str, Value]:
    """Options as they are trained with: numbers have three digits."""
    rounded = {name: float(f"{value:.{DIGITS}g}") if type(value) is float else value for name, value in params.items()}
    return dict(sorted(rounded.items()))


def _key(options: Mapping[str, Any]) -> str:
    return json.dumps(options, sort_keys=True)


def _distribution(values: Range | Choices) -> Any:
    distributions = _optuna().distributions
    if not isinstance(values, Range):
        return distributions.CategoricalDistribution(values.ends)
    kind = distributions.IntDistribution if values.whole else distributions.FloatDistribution
    return kind(values.low, values.high, log=values.log)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            'dien-bench tune needs the package optuna, which is not installed: pip install -e ".[tune]"'
        ) from error
    return optuna
