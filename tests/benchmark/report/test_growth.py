"""Growth with the data, from scores whose differences are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis.summary import Row
from benchmark.records.predictions import Scores
from benchmark.report.growth import GROWTH, Size, differences_by_size, figure_growth, growth_table, sizes_of
from datamodules.errors import UserError
from tests.benchmark.boards import pairs
from tests.benchmark.report.test_tables import run

USERS = 400


def scores(distance: float, seed: int) -> Scores:
    """All rows share the users' luck; a row's own noise is small."""
    level = np.random.default_rng(7).normal(size=(2, USERS))
    noise = 0.05 * np.random.default_rng(1000 + seed).normal(size=(2, USERS))
    return pairs(level[0] + noise[0], level[1] + noise[1] + distance)


def row(model: str, distance: float, seeds: int = 3) -> Row:
    of_row = sum(map(ord, model))
    found = tuple(scores(distance, of_row + seed) for seed in range(seeds))
    return Row(model, model, seeds, 0, 0.7, 0.01, 0.7, 0.0, {}, None, found)


def size(name: str, impressions: int, **distances: float) -> Size:
    names = {model.replace("_", "-").replace("--", "+auxiliary_negatives="): far for model, far in distances.items()}
    return Size(name, impressions, {model: row(model, far) for model, far in names.items()})


SIZES = [
    size("market-24k", 24_000, base_model=0.5, din=0.5, dien=0.5, augru=0.5, dien__own=0.3),
    size("market-97k", 97_000, base_model=0.5, din=0.9, dien=0.9, augru=0.5, dien__own=0.5),
]


def test_a_lead_that_grows_is_told_from_one_that_does_not() -> None:
    made = growth_table(SIZES, 0.8)
    levels, leads, auxiliary = made.sections
    assert levels.header == ("model", "24,000", "97,000")
    assert [line[0] for line in levels.rows][-1] == "oracle"
    words = {line[0]: [cell.split()[-1] for cell in line[1:]] for line in (*leads.rows, *auxiliary.rows)}
    assert words == {
        "DIN − BaseModel": ["inconclusive", "higher", "grows"],
        "DIEN − DIN": ["inconclusive", "inconclusive", "inconclusive"],
        "auxiliary loss, negatives: unclicked ads": ["inconclusive", "higher", "grows"],
        "auxiliary loss, negatives: the user's own behaviours": ["lower", "inconclusive", "grows"],
    }
    assert len({line[1] for line in made.csv_rows[1:]}) == 5


def test_sizes_with_runs_of_code_that_was_not_committed_are_named() -> None:
    place = {"protocol": "next-day", "steps": 900}
    records = [
        run("din", 0, 0.7, dataset="market-24k", commit="0a1b", epochs=4.8, **place),
        run("din", 0, 0.7, dataset="market-97k", commit="0a1b-dirty", epochs=1.2, **place),
    ]
    (note,) = [note for note in growth_table(sizes_of(records, GROWTH), 0.8).notes if "-dirty" in note]
    assert note.startswith("96,000 impressions: there are runs that were trained from a checkout with changes")
    assert not any("-dirty" in note for note in growth_table(SIZES, 0.8).notes)


def test_all_differences_are_corrected_together() -> None:
    found = differences_by_size(SIZES)
    raw = sorted(test.comparison.p for test in found.values())
    assert min(test.p for test in found.values()) == pytest.approx(len(raw) * raw[0])


def test_rows_of_unlike_training_are_not_tested() -> None:
    few, many = SIZES
    changed = {model: replace(row, training={"pairs_together": model != "din"}) for model, row in many.rows.items()}
    found = differences_by_size([few, many._replace(rows=changed)])
    assert ("DIEN − DIN", "market-24k") in found
    assert not {("DIEN − DIN", "market-97k"), ("DIEN − DIN", "growth")} & set(found)
    before = {model: replace(row, training={"pairs_together": False}) for model, row in few.rows.items()}
    after = {model: replace(row, training={"pairs_together": True}) for model, row in many.rows.items()}
    found = differences_by_size([few._replace(rows=before), many._replace(rows=after)])
    assert ("DIEN − DIN", "market-97k") in found
    assert ("DIEN − DIN", "growth") not in found


def test_a_size_without_a_row_has_no_growth() -> None:
    less = [SIZES[0]._replace(rows={name: one for name, one in SIZES[0].rows.items() if name != "din"}), SIZES[1]]
    leads = growth_table(less, None).sections[1]
    cells = next(line for line in leads.rows if line[0] == "DIN − BaseModel")
    assert (cells[1], cells[3]) == ("", "")
    with pytest.raises(UserError, match="at least two sizes of the market, found market-24k"):
        growth_table(SIZES[:1], None)


def test_the_figure_is_drawn_in_both_formats(tmp_path: Path) -> None:
    png, svg = figure_growth(SIZES, 0.8, tmp_path / "growth")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.read_text("utf-8").count("stroke-dasharray") > 0
