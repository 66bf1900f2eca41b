"""What the leaderboard's page shows, as one JSON document made of rankings, records and probes, and the same as CSV.

A ranking holds lines that name rows; a row holds its seeds, settings, learning curves and the command that trains it
again.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from baselines.spec import LEARNING_RATE
from benchmark.analysis.metrics import METRICS
from benchmark.analysis.probes import Probes
from benchmark.analysis.summary import Row
from benchmark.analysis.training import unlike_first
from benchmark.records import paper
from benchmark.records.curves import Curve, Curves
from benchmark.records.record import DIRTY, Record
from benchmark.records.results import curves_of
from benchmark.records.tuning import with_budget
from benchmark.report.probe_tables import overview
from benchmark.report.ranking import RANKED, RULE, SELECTIONS, Ranking, place_of, rankings
from benchmark.report.results import Result, check_comparable, fitting
from benchmark.report.table_sections import (
    NOTE_INTERVAL,
    NOTE_TRAINING,
    comparison,
    failures,
    shown_probes,
    warning,
)
from datamodules.errors import UserError
from datamodules.protocol import BATCH_SIZE, PROTOCOLS

Json = dict[str, Any]
POINTS = 120  # of a learning curve at most


def document(records: Sequence[Record], measured: Sequence[Probes]) -> Json:
    """Return what the page shows of these records, and of the probes where their samples are those of the records."""
    ordered = sorted(records, key=lambda r: (*_order(r), r.variant, paper.order(r.model), r.model, r.seed))
    of_place = {_key(*place): list(mine) for place, mine in groupby(ordered, place_of)}
    of_row = {key: list(mine) for key, mine in groupby(ordered, lambda r: _key(*place_of(r), r.model))}
    made = rankings(ordered)
    reported = {_key(*r[:3]): r for r in made if r.reported and r.metric == "auc"}
    rules = overview(measured) if measured else None
    honest = [key for key, mine in of_place.items() if mine[0].selection == "validation" and key in reported]
    return {
        "runs": len(ordered),
        "first": next(iter([*honest, *reported]), ""),  # the place that is shown where an address names none
        "rule": RULE,
        "metrics": {n: {"label": METRICS[n].name, "higher": METRICS[n].better == "higher"} for n in RANKED},
        "selections": SELECTIONS,
        "places": {key: _place(of_place[key], ranking, measured) for key, ranking in reported.items()},
        "rankings": [_ranking(ranking) for ranking in made],
        "rows": {key: _row(mine) for key, mine in of_row.items()},
        "notes": [RULE, NOTE_INTERVAL, NOTE_TRAINING],
        "probes": [
            {"heading": part.heading, "header": part.header, "rows": part.rows, "bold": sorted(part.bold)}
            for part in (rules.sections if rules else ())
        ],
        "probes_note": rules.notes[0] if rules else "",
    }


def thinned(curve: Curve, points: int = POINTS) -> Curve:
    """Return a curve of at most so many points, each the mean of equally many logged ones (the last of fewer).

    >>> thinned(Curve(np.array([20.0, 40.0, 60.0]), np.array([1.0, 2.0, 6.0])), 2).values.tolist()
    [1.5, 6.0]
    """
    together = -(-len(curve.steps) // points)
    starts = np.arange(0, len(curve.steps), together)
    counts = np.diff(starts, append=len(curve.steps))
    return Curve(np.add.reduceat(curve.steps, starts) / counts, np.add.reduceat(curve.values, starts) / counts)


def command(
    dataset: str, protocol: str, variant: str, model: str, records: Sequence[Record], seeds: Iterable[int]
) -> str:
    """Return what to type to train a row again, names quoted for the shell.

    >>> command("tafeng", "clean", "official", "a;b", [], [0, 1])
    ".venv/bin/dien-bench run --datasets tafeng --protocol clean --variant official --models 'a;b' --seeds '0 1'"
    """
    settings: Mapping[str, Any] = records[0].settings if records else {"steps_by_default": True}
    words = {
        "datasets": dataset,
        "protocol": protocol,
        "variant": variant,
        "models": str(settings.get("model", model)),  # with its path, if it is no row of ours
        "seeds": " ".join(map(str, sorted(seeds))),
    }
    if not settings.get("steps_by_default"):
        words["steps"] = str(settings["steps"])
    if settings.get("batch_size", BATCH_SIZE) != BATCH_SIZE:
        words["batch-size"] = str(settings["batch_size"])
    options = " ".join(f"--{name} {shlex.quote(value)}" for name, value in words.items())
    lines = [f".venv/bin/dien-bench run {options}"]
    commits = {record.commit for record in records}
    if changed := sorted(commit for commit in commits if commit and commit.endswith(DIRTY)):
        base = changed[0].removesuffix(DIRTY)
        lines.append(f"# trained by code that was not committed, changed from commit {base}")
    elif len(commits) == 1 and (commit := commits.pop()) is not None:
        lines = [f"git checkout {shlex.quote(commit)} && make setup", *lines]
    if settings.get("learning_rate", LEARNING_RATE) != LEARNING_RATE and "learning_rate=" not in words["models"]:
        lines.append(f"# trained with learning_rate={settings['learning_rate']} in RunConfig, which is no option")
    return "\n".join(lines)


def _key(dataset: str, protocol: str, variant: str, model: str = "") -> str:
    """The name of a place, or of a row in it."""
    return "/".join([dataset, protocol, variant, *([model] if model else [])])


def _order(record: Record) -> tuple[int, str, int, str]:
    """Data sets of the paper and protocols of the project in their order, others behind them."""
    datasets, protocols = ("electronics", "books", "sports", "beauty"), list(PROTOCOLS)
    first = datasets.index(record.dataset) if record.dataset in datasets else len(datasets)
    second = protocols.index(record.protocol) if record.protocol in protocols else len(protocols)
    return first, record.dataset, second, record.protocol


def _place(records: Sequence[Record], ranking: Ranking, measured: Sequence[Probes]) -> Json:
    """Return what the rankings of one data set, protocol and variant have in common."""
    check_comparable(records)
    dataset, protocol, variant = place_of(records[0])
    probes = fitting({p.dataset: p for p in measured if p.protocol == protocol}, dataset, records)
    rows = [
        Row(x.model, x.label, len(x.seeds), x.failed, x.mean, x.std, None, None, {}, None, ()) for x in ranking.lines
    ]
    result = Result(dataset, protocol, rows, {}, probes, list(records))
    printed, columns, _ = comparison(dataset, protocol)
    batches = {record.settings["batch_size"] for record in records}
    about = [f"batch {batches.pop()}"] if len(batches) == 1 else []
    about += [f"{records[0].settings['steps']:,} steps"]
    return {
        "dataset": dataset,
        "protocol": protocol,
        "variant": variant,
        "about": about,
        "protocol_note": str(PROTOCOLS[protocol]) if protocol in PROTOCOLS else "",
        "warning": warning(result),
        "failures": failures(result),
        "other_training": unlike_first(records, list(dict.fromkeys(record.model for record in records))),
        "printed": {model: auc.mean for model, auc in printed.items()},
        "printed_name": columns[0] if columns else "",
        "probes": [
            {"label": f"probe: {p.line}", "parameters": p.parameters, "mean": p.auc, "low": p.low, "high": p.high}
            for p in (shown_probes(probes, False) if probes else [])
        ],
    }


def _ranking(ranking: Ranking) -> Json:
    place = ranking[:3]
    return ranking._asdict() | {
        "lines": [
            {"key": _key(*place, line.model)} | {name: _rounded(value) for name, value in line._asdict().items()}
            for line in ranking.lines
        ],
        "pairs": [{name: _rounded(value) for name, value in pair._asdict().items()} for pair in ranking.pairs],
    }


def _row(records: Sequence[Record]) -> Json:
    """Return what a line opens to: its seeds, what they share, their curves, and how to train them again."""
    first = records[0]
    finished = [record for record in records if record.status == "finished"]
    names = ("seed", "status", "gauc", "logloss", "calibration", "best_step", "epochs", "steps", "parameters")
    costs = ("train_seconds", "evaluation_seconds", "processor_seconds", "samples_per_second", "peak_memory_mb")
    seeds = [record.seed for record in records]
    training = [record.train_seconds - record.evaluation_seconds for record in finished]
    return {
        "model": first.model,
        "label": with_budget(paper.label_of(first.model), records),
        "place": _key(*place_of(first)),
        "parameters": first.parameters,
        # Without evaluations, of the seed that other load on its machine disturbed least.
        "training_seconds": _rounded(min(training), 1) if training else None,
        "runs": [
            {name: _rounded(getattr(record, name)) for name in (*names, *costs)}
            | {name: _rounded(getattr(record.auc, name)) for name in ("last", "validation", "test")}
            for record in records
        ],
        "facts": _facts(records),
        "curves": _curves(finished),
        "command": command(first.dataset, first.protocol, first.variant, first.model, records, seeds),
    }


def _facts(records: Sequence[Record]) -> list[Json]:
    """Return settings and circumstances by name, each value with the seeds that have it (none: all)."""
    facts: dict[str, dict[str, list[int]]] = {}
    for record in records:
        settings = {name.replace("_", " "): value for name, value in record.settings.items()}
        others = {
            "commit": record.commit or "unknown",
            "machine": record.device,
            "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
            "protocol hash": record.protocol_hash,
            "data sha256": record.data_sha256,
        }
        for name, value in (settings | others).items():
            text = value if isinstance(value, str) else json.dumps(value)
            facts.setdefault(name, {}).setdefault(text, []).append(record.seed)
    return [
        {
            "name": name,
            "values": [
                {"text": text, "seeds": [] if len(seeds) == len(records) else seeds} for text, seeds in values.items()
            ],
        }
        for name, values in facts.items()
    ]


def _curves(records: Sequence[Record]) -> dict[str, Json]:
    """Return the learning curves of a row by column; without an auxiliary loss, loss is target loss."""
    try:
        seeds = [curves_of(record) for record in records]
    except UserError:
        return {}  # what is damaged has been told where the figures were drawn
    auxiliary = _curve(seeds, "auxiliary_loss")
    losses = {"auxiliary_loss": auxiliary, "target_loss": _curve(seeds, "target_loss")} if auxiliary else {}
    found = {"loss": _curve(seeds, "loss"), **losses, "test_auc": _curve(seeds, "test_auc")}
    return {name: curve for name, curve in found.items() if curve}


def _curve(runs: Sequence[Curves], column: str) -> Json | None:
    """Return a column of all seeds at the steps that they share; None where a seed lacks it."""
    try:
        curves = [thinned(run.curve(column)) for run in runs]
    except UserError:
        return None  # rows without an auxiliary loss
    if not curves:
        return None
    steps = curves[0].steps
    for curve in curves[1:]:
        steps = np.intersect1d(steps, curve.steps)
    seeds = [[_rounded(value, 4) for value in curve.values[np.isin(curve.steps, steps)]] for curve in curves]
    return {"steps": [round(step) for step in steps.tolist()], "seeds": seeds} if len(steps) else None


def _rounded(value: Any, digits: int = 8) -> Any:
    """Round floats, so that the last bits of a sum do not change the page; NaN, of a loss, is None."""
    if isinstance(value, tuple):
        return [_rounded(one, digits) for one in value]
    if isinstance(value, float):
        return round(float(value), digits) if np.isfinite(value) else None
    return value
