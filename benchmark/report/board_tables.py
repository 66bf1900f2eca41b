"""Protocols of the committed board side by side, read from its generated CSV tables: no record is opened."""

import csv
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from benchmark.records import paper
from benchmark.report.render import Section, Table
from datamodules.errors import UserError, unknown_name

CHECKOUT_BOARD = Path(__file__).resolve().parents[2] / "leaderboards"
SIGNIFICANT = 0.05  # of a corrected p, as everywhere
ORDER = ("sports", "beauty", "tafeng")
NOTE = (
    "Mean test AUC ± standard deviation over seeds (seeds), at the checkpoint that the protocol reports. Against the "
    "nearest filled row above: ≠ different, ≈ not significantly different (p of a paired test over test users and "
    "seeds, Holm-corrected in its table), ? not tested."
)
NOTE_RULE = "best rule: a score without parameters, on the same test samples, that reaches the highest AUC there."
Line = Mapping[str, str]  # column of the CSV -> cell
HEADER = (
    "dataset",
    "protocol",
    "variant",
    "model",
    "seeds",
    "auc_mean",
    "auc_std",
    "p_row_above",
    "p_din",
    "probe_auc",
)


class Place(NamedTuple):
    """A data set under a protocol."""

    dataset: str
    protocol: str


def board_of(folder: Path | None) -> Path:
    """The board asked for, else that of this folder, else that of the checkout that the program runs from."""
    here = Path("leaderboards")
    return folder or (here if here.is_dir() else CHECKOUT_BOARD)


def side_by_side(
    board: Path, protocols: Sequence[str], variant: str, dataset: str | None = None, number: str = "2"
) -> Table:
    """Return the board's Table 2, 3 or 4 with a column a protocol and a section a data set; its CSV has a line a cell.

    Raises `UserError` where the board has no table of one of the protocols, or none with the data set.
    """
    tables = {protocol: _read(board, number, protocol, variant) for protocol in protocols}
    by_place: dict[Place, dict[str, Line]] = {}
    for protocol, lines in tables.items():
        for line in lines:
            by_place.setdefault(Place(line["dataset"], protocol), {})[line["model"]] = line
    known = sorted({place.dataset for place in by_place}, key=lambda name: (_position(name), name))
    if dataset is not None and dataset not in known:
        raise unknown_name(f"data set of Table {number} under {' and '.join(protocols)} on {board}", dataset, known)
    chosen = known if dataset is None else [dataset]
    sections = [_section(name, protocols, by_place) for name in chosen]
    rows = [
        tuple(line.get(name, "") for name in HEADER)
        for name, protocol in product(chosen, protocols)
        for line in by_place.get(Place(name, protocol), {}).values()
    ]
    title = f"Table {number}: {paper.TITLES[number]}, {' beside '.join(protocols)}, variant {variant}"
    return Table(title, tuple(sections), (NOTE, NOTE_RULE), (HEADER, *rows))


def _position(dataset: str) -> int:
    return ORDER.index(dataset) if dataset in ORDER else len(ORDER)


def _read(board: Path, number: str, protocol: str, variant: str) -> list[Line]:
    stem = f"table{number}-{protocol}-{variant}"
    found = sorted(board.rglob(f"{stem}.csv"))
    if not found:
        there = sorted(path.stem for path in board.rglob("table[2-4]-*.csv"))
        of_protocol = {f"table{other}-{protocol}-{each}" for other in "234" for each in ("official", "paper")}
        head, tail = f"table{number}-", f"-{variant}"
        fit = [stem[len(head) : -len(tail)] for stem in there if stem.startswith(head) and stem.endswith(tail)]
        if fit and not of_protocol & set(there):
            raise unknown_name(f"protocol of Table {number} on {board}", protocol, fit)
        raise UserError(
            f"{board} has no {stem}.csv, expected a table that dien-bench leaderboard build makes; it has "
            f"{', '.join(there) or 'no table'}"
        )
    try:
        with found[0].open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        if any(line["dataset"] is None or line["model"] is None or line["seeds"] is None for line in lines):
            raise ValueError("a line is cut off")
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(
            f"{found[0]} cannot be read ({error}): make it again with dien-bench leaderboard build"
        ) from error
    return [{name: cell or "" for name, cell in line.items() if name} for line in lines]


def _section(dataset: str, protocols: Sequence[str], by_place: Mapping[Place, Mapping[str, Line]]) -> Section:
    """One data set: a row a model that has a run under one of the protocols, the rule below, and DIEN against DIN."""
    columns = {protocol: by_place.get(Place(dataset, protocol), {}) for protocol in protocols}
    models = {model for lines in columns.values() for model, line in lines.items() if line["seeds"] != "0"}
    rows = [
        (paper.label_of(model), *(_cell(columns[protocol].get(model)) for protocol in protocols))
        for model in sorted(models, key=lambda name: (paper.order(name), name))
    ]
    rules = [
        next((line["probe_auc"] for line in columns[one].values() if line.get("probe_auc")), "") for one in protocols
    ]
    rows.append(("best rule, 0 parameters", *(f"{float(auc):.4f}" if auc else "" for auc in rules)))
    said = [text for protocol in protocols if (text := _dien_against_din(columns[protocol], protocol))]
    return Section(dataset, ("model", *protocols), tuple(rows), note="; ".join(said))


def _cell(line: Line | None) -> str:
    if line is None or not line["auc_mean"]:
        return ""
    spread = f" ± {float(line['auc_std']):.4f}" if line["auc_std"] else ""
    mark = _mark(line) if line["model"] != "base-model" else ""
    return f"{float(line['auc_mean']):.4f}{spread} ({line['seeds']}) {mark}".rstrip()


def _mark(line: Line) -> str:
    if not line.get("p_row_above"):
        return "?"
    return "≠" if float(line["p_row_above"]) < SIGNIFICANT else "≈"


def _dien_against_din(lines: Mapping[str, Line], protocol: str) -> str:
    """What the table's test says of DIEN and DIN; empty where one of them has no run."""
    dien, din = lines.get("dien"), lines.get("din")
    if not (dien and din and dien["auc_mean"] and din["auc_mean"]):
        return ""
    gain = float(dien["auc_mean"]) - float(din["auc_mean"])
    return f"DIEN − DIN under {protocol}: {gain:+.4f}, {verdict(dien.get('p_din', ''))}"


def verdict(p: str) -> str:
    """What a corrected p of a CSV says, in words.

    >>> verdict("0.924"), verdict("1e-05"), verdict("")
    ('not significantly different (p = 0.92)', 'significantly different (p < 0.001)', 'not tested')
    """
    if not p:
        return "not tested"
    value = float(p)
    shown = "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
    return f"{'significantly different' if value < SIGNIFICANT else 'not significantly different'} ({shown})"
