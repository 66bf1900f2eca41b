"""What the leaderboard's page shows, as one JSON document made of records, tables and probes.

Tables hold lines that name rows; a row holds its seeds, settings, learning curves and the command that trains it again.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from baselines.spec import LEARNING_RATE
from benchmark.analysis.probes import Probe, Probes
from benchmark.analysis.summary import Row, relation_of, rows_above, standing
from benchmark.records import paper
from benchmark.records.curves import Curve, Curves
from benchmark.records.record import Record
from benchmark.records.results import curves_of
from benchmark.report.probe_tables import overview
from benchmark.report.table_sections import (
    NOTE_METRICS,
    NOTES,
    OPTIONS,
    SELECTION_WORDS,
    Result,
    Shown,
    comparison,
    shown_probes,
    warning,
)
from datamodules.errors import UserError
from datamodules.protocol import BATCH_SIZE, PROTOCOLS

Json = dict[str, Any]
POINTS = 120  # of a learning curve at most
OPTIONS_TITLE = "One row of the paper, and that row with options"
DIRTY = "-dirty"  # behind a commit, where the code that trained differs from it


def document(records: Sequence[Record], tables: Sequence[Shown], measured: Sequence[Probes]) -> Json:
    """Return what the page shows: tables whose lines name rows, and rows with their seeds, settings and curves."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(_key(record.dataset, record.protocol, record.model, record.variant), []).append(record)
    blocks = [_block(table, result) for table in tables for result in table.results]
    named = {line["key"] for block in blocks for line in block["lines"]}
    runs = {key: mine for key, mine in runs.items() if key in named}
    notes = sorted({note for table in tables for note in table.notes} - {NOTE_METRICS}, key=NOTES.index)
    rules = overview(measured) if measured else None
    return {
        "runs": sum(map(len, runs.values())),
        "blocks": blocks,
        "standing": _standing(tables),
        "rows": {key: _row(mine) for key, mine in runs.items()},
        "notes": notes,
        "protocols": {
            name: str(PROTOCOLS[name]) for name in sorted({table.protocol for table in tables} & set(PROTOCOLS))
        },
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
    if settings.get("learning_rate", LEARNING_RATE) != LEARNING_RATE:
        lines.append(f"# trained with learning_rate={settings['learning_rate']} in RunConfig, which is no option")
    return "\n".join(lines)


def _key(dataset: str, protocol: str, model: str, variant: str) -> str:
    return f"{dataset}/{protocol}/{model}-{variant}"


def _standing(tables: Sequence[Shown]) -> dict[str, str]:
    """Return by key how a row compares with the best of its data set, protocol and variant, all tables together."""
    places: dict[tuple[str, str, str], dict[str, Row]] = {}
    for table in tables:
        for result in table.results:
            place = places.setdefault((result.dataset, table.protocol, table.variant), {})
            place |= {row.model: row for row in result.rows if row.mean is not None}
    return {
        _key(dataset, protocol, model, variant): relation
        for (dataset, protocol, variant), rows in places.items()
        for model, relation in standing(list(rows.values())).items()
    }


def _block(table: Shown, result: Result) -> Json:
    printed, columns, _ = comparison(result.dataset, result.protocol)
    settings = [record.settings for record in result.records]
    users = next((row.scores[0].users for row in result.rows if row.scores), None)
    about = [f"AUC {SELECTION_WORDS[result.records[0].selection]}"] if result.records else []
    if len(batches := {setting["batch_size"] for setting in settings}) == 1:
        about.append(f"batch {batches.pop()}")
    about += [f"{settings[0]['steps']:,} steps"] if settings else []
    about += [f"{users:,} test users"] if users else []
    places = standing(result.rows)
    lines = []
    above_of = (
        rows_above(result.rows) if table.number != OPTIONS else [None, *[result.rows[0]] * (len(result.rows) - 1)]
    )
    for row, above in zip(result.rows, above_of, strict=True):
        line = _line(table, result, row, above)
        auc = printed.get(row.model)
        line |= {"printed": auc and auc.mean, "printed_std": auc and auc.std}
        line |= {"best": places.get(row.model) == "best"}
        lines.append(line)
    return {
        "table": table.number,
        "title": paper.TITLES.get(table.number, OPTIONS_TITLE),
        "page": f"table{table.number}-{table.protocol}-{table.variant}" if table.number in paper.TABLES else "",
        "references": [{"model": name, "label": paper.LABELS[name]} for name in table.references],
        "dataset": result.dataset,
        "protocol": table.protocol,
        "variant": table.variant,
        "about": about,
        "warning": warning(result),
        "seeds": result.seeds,
        "printed": columns[0] if columns else "",
        "of_paper": columns[1:] != (),  # the data set is the paper's own: differences mean something
        "lines": lines,
        "probes": [_probe(probe) for probe in shown_probes(result.probes, False)] if result.probes else [],
    }


def _line(table: Shown, result: Result, row: Row, above: Row | None) -> Json:
    interval, variant = row.interval or (None, None), table.variant
    others = dict.fromkeys([*table.references, above.model if above else ""])
    tests = {other: test for other in others if (test := result.tested.get((row.model, other)))}
    seeds = {record.seed for record in result.records} or range(5)
    return {
        "key": _key(result.dataset, result.protocol, row.model, variant),
        "model": row.model,
        "label": row.label,
        "seeds": row.seeds,
        "failed": row.failed,
        **{name: _rounded(getattr(row, name)) for name in ("mean", "std", "last", "inflation")},
        "low": _rounded(interval[0]),
        "high": _rounded(interval[1]),
        "above": above.label if above else "",
        "relation": relation_of(tests.get(above.model)) if above is not None and row.mean is not None else "",
        "tests": [
            {
                "other": other,
                "label": above.label if above and above.model == other else paper.LABELS.get(other, other),
                "above": above is not None and above.model == other and table.number != OPTIONS,
                "difference": _rounded(test.comparison.difference),
                "p": _rounded(test.p),
            }
            for other, test in tests.items()
        ],
        "command": ""
        if row.seeds + row.failed
        else command(result.dataset, result.protocol, variant, row.model, [], seeds),
    }


def _probe(probe: Probe) -> Json:
    return {
        "label": f"probe: {probe.line}",
        "parameters": probe.parameters,
        "mean": probe.auc,
        "low": probe.low,
        "high": probe.high,
    }


def _row(records: Sequence[Record]) -> Json:
    """Return what a line opens to: its seeds, what they share, their curves, and how to train them again."""
    first = records[0]
    finished = [record for record in records if record.status == "finished"]
    names = ("seed", "status", "logloss", "best_step", "epochs", "steps", "parameters")
    costs = ("train_seconds", "evaluation_seconds", "samples_per_second", "peak_memory_mb")
    seeds = [record.seed for record in records]
    return {
        "model": first.model,
        "selection": first.selection,
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
    """Round a float, so that the last bits of a sum do not change the page; NaN, of a loss, is None."""
    if isinstance(value, float):
        return round(float(value), digits) if np.isfinite(value) else None
    return value
