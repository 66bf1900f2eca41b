"""The table of Rocket Launching: its rows, and its tests against those of two rows alone."""

import json
import re
from pathlib import Path

import pytest

from benchmark.analysis.comparison import compare, holm
from benchmark.bench.serving.rocket import BOOSTER, LIGHT, rocket_table
from benchmark.leaderboard.build import build
from benchmark.records.record import read_records
from benchmark.records.results import scores_of
from benchmark.runs.config import RunConfig
from datamodules.errors import UserError
from tests.benchmark.boards import export_row, make_board

ROOT = Path(__file__).parents[3]
STANDS_FOR = {
    "dien": BOOSTER,
    "base-model": LIGHT,
    "din": "dien-rocket+hint_weight=1",
    "augru": "dien-rocket+hint_weight=0.01",
    "gru-attention": "dien-rocket+share=false",
}


def test_rows_are_tested_against_the_light_net_and_the_booster(tmp_path: Path) -> None:
    for model, name in STANDS_FOR.items():
        folder = tmp_path / "sports/clean" / f"{name}-official"
        export_row(f"sports/clean/{model}-official", folder)
        for path in folder.glob("*/record.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"model": name}))
    records = read_records(tmp_path)
    made = rocket_table(records, ["sports"], "clean", "official")
    lines = [dict(zip(made.csv_rows[0], values, strict=True)) for values in made.values()]
    assert [line["model"] for line in lines] == [
        BOOSTER, LIGHT, "dien-rocket+hint_weight=0.01", "dien-rocket+hint_weight=1", "dien-rocket+share=false"
    ]  # fmt: skip
    scores = {
        name: tuple(found.reported for r in records if r.model == name and (found := scores_of(r)))
        for name in STANDS_FOR.values()
    }
    taught = [line["model"] for line in lines[2:]]
    pairs = [(LIGHT, BOOSTER), *((model, other) for model in taught for other in (LIGHT, BOOSTER))]
    alone = {pair: compare(scores[pair[1]], scores[pair[0]]) for pair in pairs}
    corrected = dict(zip(pairs, holm([one.p for one in alone.values()]), strict=True))
    for line in lines[2:]:
        for other, name in ((LIGHT, "light"), (BOOSTER, "booster")):
            assert line[f"minus_{name}"] == pytest.approx(alone[line["model"], other].difference, abs=1e-6)
            assert line[f"p_{name}"] == pytest.approx(corrected[line["model"], other], rel=0.01, abs=1e-12)
    better = sum(alone[m, LIGHT].difference > 0 and corrected[m, LIGHT] < 0.05 for m in taught)
    assert made.sections[0].note == f"Taught nets significantly above the light net alone: {better} of 3 tested."
    with pytest.raises(UserError, match="make reproduce-rocket"):
        rocket_table(records, ["beauty"], "clean", "official")

    board = make_board(tmp_path, tmp_path / "board")
    build(board)
    assert (board / "rocket-clean-official.csv").read_text("utf-8") == made.csv()
    assert "## Rocket Launching" in (board / "README.md").read_text("utf-8")
    assert not list(board.glob("table*"))  # it is no row of the paper's tables


def test_every_row_of_the_makefile_can_be_trained() -> None:
    text = (ROOT / "Makefile").read_text("utf-8").replace("\\\n\t", "")
    hints = re.findall(r"^HINTS := (.*)$", text, re.M)[0].split()
    rows = re.findall(r"^reproduce-rocket: MODELS = (.*)$", text, re.M)[0]
    rows = rows.replace("$(HINTS:%=dien-rocket+hint_weight=%)", " ".join(f"dien-rocket+hint_weight={h}" for h in hints))
    assert {BOOSTER, LIGHT, "dien-rocket+block=false+share=false", "dien-rocket+hint_weight=0.01"} <= set(rows.split())
    for row in rows.split():
        RunConfig("generated", "clean", row, "official", 0).check()
