"""Rows with options, as "dien+auxiliary_weight=0.5", each beside the row that it changes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.analysis.probes import Probes
from benchmark.analysis.summary import Difference, Row, differences_of_pairs
from benchmark.analysis.training import unlike_first
from benchmark.records.paper import LABELS
from benchmark.records.record import Record
from benchmark.records.tuning import TUNED
from benchmark.report.ranking import place_of
from benchmark.report.results import OTHER_TRAINING, results_of
from benchmark.report.table_sections import OPTIONS, Shown


def base_of(model: str) -> str:
    """The row that a row with options changes; itself where it has none, or where a search chose them."""
    return model if model.endswith(f"+{TUNED}") else model.partition("+")[0]


def option_tables(
    records: Sequence[Record], protocol: str, variant: str, datasets: Sequence[str], probes: Mapping[str, Probes]
) -> list[Shown]:
    """Return a table for each row of the paper that was also trained with options.

    The records are those of the protocol and variant. The first line of a table is the row itself; the others are
    compared with it, and with nothing else.
    """
    changed = {base_of(record.model) for record in records if record.model not in LABELS} & set(LABELS)
    tables = []
    for base in [model for model in LABELS if model in changed]:
        mine = [record for record in records if base_of(record.model) == base]
        options = sorted({record.model for record in mine} - {base})
        places = [name for name in datasets if any(r.dataset == name and r.model != base for r in mine)]
        results = [
            result._replace(
                rows=[_named(row, others) for row in result.rows if row.model == base or row.seeds + row.failed],
                tested=against(result.rows, base),
            )
            for result in results_of(mine, "4", places, protocol, variant, [base, *options], probes)
            for others in [unlike_first(result.records, [base, *options])]
        ]
        tables.append(Shown(OPTIONS, protocol, variant, results, notes=(), references=(base,)))
    return tables


def option_records(records: Sequence[Record]) -> list[Record]:
    """Return the runs of rows with options, and those of the rows that they change, where they were trained."""
    changed = {(place_of(record), base_of(record.model)) for record in records if record.model != base_of(record.model)}
    return [record for record in records if (place_of(record), base_of(record.model)) in changed]


def _named(row: Row, others: Mapping[str, Sequence[str]]) -> Row:
    """The row under its options alone, since the line above all names the rest; and what else differs, untested."""
    _, *options = row.model.split("+")
    differ = f" {OTHER_TRAINING} ({', '.join(others[row.model])})" if row.model in others else ""
    return replace(row, label=f"with {', '.join(options)}{differ}") if options else row


def against(rows: Sequence[Row], base: str) -> dict[tuple[str, str], Difference]:
    """Test each row against the base alone, all together corrected by Holm; as `summary.differences`."""
    first = next(row for row in rows if row.model == base)
    return differences_of_pairs([(row, first) for row in rows])
