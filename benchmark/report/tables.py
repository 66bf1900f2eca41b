"""Tables 1, 2 and 4 of the paper, made of run records, beside the figures that the paper prints.

The same records give the same bytes. A table shows one selection of one protocol and variant; runs that were
trained for other numbers of steps, on other data or under a changed protocol are refused instead of averaged.
"""

from collections.abc import Iterable, Mapping, Sequence

from benchmark.analysis.probes import Probes
from benchmark.analysis.summary import REFERENCES, differences, summarise
from benchmark.analysis.training import training_of, unlike
from benchmark.records import paper
from benchmark.records.paper import Statistics
from benchmark.records.record import Record
from benchmark.report.render import Section, Table
from benchmark.report.table_sections import FURTHER, NOTE_MEAN, NOTES, SELECTION_WORDS, Result, csv_line, sections_of
from datamodules.errors import UserError, unknown_name

CSV_HEADER = "dataset,protocol,variant,model,seeds,auc_mean,auc_std,auc_last_mean,paper_auc,difference"
MORE_COLUMNS = "auc_low,auc_high,best_minus_last,p_base_model,p_din,p_row_above,probe_auc,fitted_probe_auc"
MORE_COLUMNS += ",rule_beats_base_model"  # yes, no, or empty where one of the two has not been measured
MORE_COLUMNS += "".join(f",{name}_mean" for name in FURTHER)


def table(
    records: Iterable[Record],
    number: str,
    datasets: Sequence[str],
    protocol: str,
    variant: str,
    models: Sequence[str] | None = None,
    probes: Mapping[str, Probes] | None = None,
    *,
    short: bool = False,
) -> Table:
    """Return Table 2 or 4: a section a data set, a line a model in the paper's order, and what differs.

    records   runs, of which those of the data sets, protocol, variant and models are used; their predictions are
              read where they lie beside the record
    number    "2" or "4"
    models    which rows to show; those that the paper's table lacks come after its rows, in the given order, on the
              data sets that have a run of them. None: the paper's rows
    probes    data set -> what rules reach under this protocol, shown below the rows
    short     only the AUC, the paper's and one probe

    Raises UserError for another number, for two records of one run, and for runs of mixed settings.
    """
    results = results_of(records, number, datasets, protocol, variant, models, probes)
    return table_of(results, number, protocol, variant, short=short)


def table_of(results: Sequence[Result], number: str, protocol: str, variant: str, *, short: bool = False) -> Table:
    """Write the figures of a table out; `short` as of `table`."""
    sections: list[Section] = []
    notes = [NOTE_MEAN]
    lines = [tuple(f"{CSV_HEADER},{MORE_COLUMNS}".split(","))]
    for result in results:
        new_sections, new_notes = sections_of(result, short)
        sections += new_sections
        notes += new_notes
        lines += [csv_line(result, variant, row) for row in result.rows]
    title = _title(number, protocol, variant, results)
    notes = sorted(set(notes), key=NOTES.index)
    return Table(title, tuple(sections), tuple(notes), tuple(lines))


def results_of(
    records: Iterable[Record],
    number: str,
    datasets: Sequence[str],
    protocol: str,
    variant: str,
    models: Sequence[str] | None = None,
    probes: Mapping[str, Probes] | None = None,
) -> list[Result]:
    """Return the figures of a table before they are written out, a result a data set; arguments as of `table`."""
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


def table1(measured: Mapping[str, Statistics]) -> Table:
    """Return Table 1: a line with the measured counts of each data set, and under it what the paper prints.

    A measured count that differs from the printed one is marked.
    """
    names = Statistics._fields
    rows: list[tuple[str, ...]] = []
    lines = [("dataset", *names, *(f"paper_{name}" for name in names))]
    for dataset, counts in measured.items():
        printed = paper.STATISTICS.get(dataset)
        shown = _counts(counts, ",")
        if printed:
            pairs = zip(shown, _counts(printed, ","), strict=True)
            shown = [f"{a} ≠" if a and a != b else a for a, b in pairs]
        rows.append((dataset, *shown))
        if printed:
            rows.append((f"{dataset}, paper", *_counts(printed, ",")))
        lines.append((dataset, *_counts(counts, ""), *_counts(printed or (None,) * len(names), "")))
    notes = ("≠ differs from the paper's count.",) if any("≠" in cell for row in rows for cell in row) else ()
    section = Section("", ("data set", *names), tuple(rows))
    return Table(f"Table 1: {paper.TITLES['1']}", (section,), notes, tuple(lines))


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


def _title(number: str, protocol: str, variant: str, results: Sequence[Result]) -> str:
    records = [record for result in results for record in result.records]
    parts = [f"Table {number}: {paper.TITLES[number]}", f"protocol {protocol}", f"variant {variant}"]
    if not records:
        return ", ".join([*parts, "no runs yet"])
    parts.append(f"AUC {SELECTION_WORDS[records[0].selection]}")
    if len(batches := {record.settings["batch_size"] for record in records}) == 1:
        parts.append(f"batch {batches.pop()}")
    steps = {record.dataset: record.settings["steps"] for record in records}
    if len(set(steps.values())) == 1:
        parts.append(f"{records[0].settings['steps']:,} steps")
    else:
        parts += [f"{steps[r.dataset]:,} steps on {r.dataset}" for r in results if r.dataset in steps]
    return ", ".join(parts)


def _counts(values: Iterable[int | None], thousands: str) -> list[str]:
    return ["" if value is None else f"{value:{thousands}}" for value in values]
