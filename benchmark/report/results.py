"""The figures of a table before they are written out: a result a data set, of runs that can stand in one table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmark.analysis.probes import Probes
from benchmark.analysis.summary import REFERENCES, Difference, Row, differences, summarise
from benchmark.analysis.training import training_of, unlike
from benchmark.records import paper
from benchmark.records.record import Record
from datamodules.errors import UserError, unknown_name

OTHER_TRAINING = "‡"  # marks what was trained with other settings


class Result(NamedTuple):
    """All that is known of one data set."""

    dataset: str
    protocol: str
    rows: list[Row]
    tested: dict[tuple[str, str], Difference]
    probes: Probes | None
    records: list[Record]  # of the rows shown

    @property
    def seeds(self) -> int:
        """How many seeds a row can have: those of two rows, since one row may have further ones of its own."""
        rows: dict[int, set[str]] = {}
        for record in self.records:
            rows.setdefault(record.seed, set()).add(record.model)
        shared = [seed for seed, models in rows.items() if len(models) > 1]
        return len(shared or rows)


def results_of(
    records: Iterable[Record],
    number: str,
    datasets: Sequence[str],
    protocol: str,
    variant: str,
    models: Sequence[str] | None = None,
    probes: Mapping[str, Probes] | None = None,
) -> list[Result]:
    """Return the figures of Table 2, 3 or 4: a result a data set, with its models in the paper's order.

    records   runs, of which those of the data sets, protocol, variant and models are used; their predictions are
              read where they lie beside the record
    number    of the table in the paper
    models    which rows to show; those that the paper's table lacks come after its rows, in the given order, on the
              data sets that have a run of them. None: the paper's rows
    probes    data set -> what rules reach under this protocol

    Raises UserError for another number, for two records of one run, and for runs of mixed settings.
    """
    if number not in paper.TABLES:
        raise unknown_name("table", number, paper.TABLES)
    labels = _row_labels(number, models)
    datasets = list(dict.fromkeys(datasets))
    used = [
        record
        for record in records
        if record.dataset in datasets
        and (record.protocol, record.variant) == (protocol, variant)
        and record.model in {*labels, *REFERENCES}
    ]
    used.sort(key=lambda record: (record.model, record.seed, str(record.path)))
    shown = [record for record in used if record.model in labels]
    _check_one_selection(shown)
    results = []
    for dataset in datasets:
        mine = [record for record in shown if record.dataset == dataset]
        check_comparable(mine)
        others = _hidden_references(mine, [r for r in used if r.dataset == dataset and r.model not in labels])
        elsewhere = (
            {record.model for record in shown} - {record.model for record in mine} - {*dict(paper.TABLES[number])}
        )
        rows = {
            model: summarise(mine + others, model, label) for model, label in labels.items() if model not in elsewhere
        }
        references = [rows.get(model) or summarise(others, model, paper.LABELS[model]) for model in REFERENCES]
        tested = differences(list(rows.values()), references)
        found = fitting(probes, dataset, mine + others)
        results.append(Result(dataset, protocol, list(rows.values()), tested, found, mine))
    return results


def _row_labels(number: str, models: Sequence[str] | None) -> dict[str, str]:
    """Return the rows to show, model -> label: those of the paper's table in its order, then the others."""
    labels = dict(paper.TABLES[number])
    if models is None:
        return labels
    ordered = [model for model in labels if model in models] + [model for model in models if model not in labels]
    return {model: labels.get(model) or paper.label_of(model) for model in ordered}


def _check_one_selection(records: Sequence[Record]) -> None:
    for record in records:
        if record.selection != records[0].selection:
            raise _mixed(records[0], record, "selection", records[0].selection, record.selection)


def check_comparable(records: Sequence[Record]) -> None:
    """Raise `UserError` for mixed runs of one data set, protocol and variant, sorted by model and seed.

    Batch size, learning rate, the file of a model and what `training_of` returns may differ between rows, not in one.
    """
    first_of_model: dict[str, Record] = {}
    previous: Record | None = None
    for record in records:
        if previous and (previous.model, previous.seed) == (record.model, record.seed):
            raise UserError(
                f"two records of one run: {previous.place} and {record.place}. Keep one, or read one folder."
            )
        previous = record
        for name in ("protocol_hash", "data_sha256"):
            found, expected = getattr(record, name), getattr(records[0], name)
            if found != expected:
                raise _mixed(records[0], record, name, expected, found)
        first = first_of_model.setdefault(record.model, record)
        of_row = [(name, first) for name in ("batch_size", "learning_rate", "model_sha256")]
        for name, other in (("steps", records[0]), *of_row):
            if record.settings.get(name) != other.settings.get(name):
                raise _mixed(other, record, name, other.settings.get(name), record.settings.get(name))
        for name in unlike(training_of(record), training_of(first)):
            raise _mixed(first, record, name, training_of(first)[name], training_of(record)[name])


def _hidden_references(shown: Sequence[Record], others: Sequence[Record]) -> list[Record]:
    """Return runs of rows that are compared with and not shown, none where they do not go with those shown."""
    try:
        _check_one_selection([*shown, *others])
        check_comparable([*shown, *others])
    except UserError:
        return []
    return list(others)


def _mixed(first: Record, second: Record, name: str, first_value: object, second_value: object) -> UserError:
    return UserError(
        f"runs cannot stand in one table: {name} is {first_value} in {first.place} and {second_value} in "
        f"{second.place}. Train one again with the other's settings, or keep them in separate folders."
    )


def fitting(probes: Mapping[str, Probes] | None, dataset: str, records: Sequence[Record]) -> Probes | None:
    """Return the probes of a data set, unless they were measured on other samples than the runs."""
    found = (probes or {}).get(dataset)
    if found and records and found.data_sha256 != records[0].data_sha256:
        return None
    return found
