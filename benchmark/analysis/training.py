"""Settings of training that make rows unlike: rows are tested against each other only where they have the same."""

from collections.abc import Mapping, Sequence

from benchmark.records.record import Record

# What the training of records is that do not say it, of before 2026-11-26 (variants.md 19, 21, 22).
UNSAID: dict[str, object] = {"adam_epsilon": "torch", "pairs_together": False, "unknown_user": "own"}


def training_of(record: Record) -> dict[str, object]:
    """Return the settings of training of a run, without those that its row names as options of its own."""
    named = {option.partition("=")[0] for option in record.model.split("+")[1:]}
    return {name: record.settings.get(name, before) for name, before in UNSAID.items() if name not in named}


def unlike(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    """Return the settings that two trainings have both, and not the same."""
    return [name for name, value in first.items() if name in second and second[name] != value]


def unlike_first(records: Sequence[Record], models: Sequence[str]) -> dict[str, list[str]]:
    """The rows whose training differs from that of the first row with runs: model -> the settings that differ."""
    of_row = {record.model: training_of(record) for record in records}
    rows = {model: of_row[model] for model in models if model in of_row}
    first = next(iter(rows.values()), {})
    return {model: differ for model, training in rows.items() if (differ := unlike(training, first))}
