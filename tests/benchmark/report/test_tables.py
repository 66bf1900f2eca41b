"""Tables from records: hand-worked figures, exact text, marks, hostile names, what must not be averaged."""

import csv
import io
import random
import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from benchmark.analysis.comparison import compare, estimate, holm
from benchmark.analysis.probes import Probe, Probes
from benchmark.analysis.summary import REFERENCES, Difference
from benchmark.records import paper
from benchmark.records.paper import Statistics, paper_auc
from benchmark.records.predictions import read_scores
from benchmark.records.record import Record, parse_record, run_folder
from benchmark.report.render import Table, escape_markdown, write_table
from benchmark.report.results import results_of
from benchmark.report.table_sections import NOTE_CODE, NOTE_UNCOMMITTED
from benchmark.report.tables import CSV_HEADER, MORE_COLUMNS, table1
from datamodules.errors import UserError
from tests.benchmark.boards import committed, table


def run(model: str, seed: int, auc: float | None, **changes: Any) -> Record:
    """A run of 900 steps on electronics whose last AUC is 0.01 below its best; no AUC: a failed run."""
    fields = {
        "schema_version": 3,
        "dataset": "electronics",
        "protocol": "arxiv-v1",
        "protocol_hash": "0123abcd",
        "model": model,
        "variant": "official",
        "seed": seed,
        "selection": "test",
        "auc": {"last": auc and auc - 0.01, "validation": auc, "test": auc},
        "logloss": auc and 0.4,
        "calibration": auc and 1.0,
        "best_step": 800,
        "epochs": 3.0,
        "steps": 900,
        "parameters": 1,
        "train_seconds": 1.0,
        "evaluation_seconds": 0.5,
        "samples_per_second": 1.0,
        "peak_memory_mb": 1,
        "device": "cpu",
        "versions": {},
        "commit": None,
        "code_sha256": "cd" * 32,
        "data_sha256": "ab" * 32,
        "sampler_version": 1,
        "settings": {"batch_size": 128, "learning_rate": 0.001, "steps": 900},
        "status": "finished" if auc else "failed",
        **changes,
    }
    identity = (fields[name] for name in ("dataset", "protocol", "model", "variant", "seed"))
    return parse_record(fields, run_folder(Path("runs"), *identity) / "record.json")


def settings(**changes: Any) -> dict[str, Any]:
    return {"batch_size": 128, "learning_rate": 0.001, "steps": 900, **changes}


def electronics(records: list[Record], models: list[str] | None = None) -> Table:
    return table(records, "4", ["electronics"], "arxiv-v1", "official", models)


def cells(made: Table, section: int = 0) -> dict[str, str]:
    return {row[0]: row[1] for row in made.sections[section].rows}


TINY = [
    run("base-model", 0, 0.8500),
    run("base-model", 1, 0.8540),
    run("augru", 0, 0.8530),
    run("augru", 1, 0.8550),
    run("dien", 0, 0.9000),
    run("dien", 1, None),
]

# base-model: mean 0.852, std sqrt(2 * 0.002^2) = 0.002828; augru: mean 0.854, std 0.001414.
TINY_MARKDOWN = """\
## Table 4: Effect of AUGRU and auxiliary loss, protocol arxiv-v1, variant official, AUC best on test, \
batch 128, 900 steps

### electronics

| model | AUC | last step | best − last | paper | difference | log loss | calibration |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| BaseModel | 0.8520 ± 0.0028 (2) | 0.8420 | +0.0100 | 0.8538 | -0.0018 | 0.4000 | 1.000 |
| Two layer GRU attention |  |  |  | 0.8640 |  |  |  |
| BaseModel + GRU + AIGRU |  |  |  | 0.8663 |  |  |  |
| BaseModel + GRU + AGRU |  |  |  | 0.8666 |  |  |  |
| BaseModel + GRU + AUGRU | 0.8540 ± 0.0014 (2) ? | 0.8440 | +0.0100 | 0.8675 | -0.0135 | 0.4000 | 1.000 |
| DIEN | 0.9000 (1 of 2, 1 failed) ? | 0.8900 | +0.0100 | 0.9030 | -0.0030 | 0.4000 | 1.000 |

Mean test AUC ± unbiased standard deviation (seeds). In bold: the highest mean of a data set, where it is \
significantly different from every other (p \\< 0.05, Holm-corrected over these comparisons).

Against the nearest filled row above: ≠ different, ≈ not significantly different, ? not tested, for want of a second \
seed or of predictions.

(n of m): only n of the m seeds of this data set are finished in this row.

best − last: what choosing the checkpoint on test users adds to the AUC of the last step, mean over seeds.

GAUC, log loss, calibration (dien-bench list metrics): means over seeds at the checkpoint whose AUC is reported; not \
shown where a record lacks them.
"""

TINY_CSV = f"""\
dataset,protocol,variant,model,seeds,auc_mean,auc_std,auc_last_mean,paper_auc,difference,{MORE_COLUMNS}
electronics,arxiv-v1,official,base-model,2,0.852000,0.002828,0.842000,0.853800,-0.001800,,,0.010000,,,,,,,,0.400000,1.000000
electronics,arxiv-v1,official,gru-attention,0,,,,0.864000,,,,,,,,,,,,,
electronics,arxiv-v1,official,aigru,0,,,,0.866300,,,,,,,,,,,,,
electronics,arxiv-v1,official,agru,0,,,,0.866600,,,,,,,,,,,,,
electronics,arxiv-v1,official,augru,2,0.854000,0.001414,0.844000,0.867500,-0.013500,,,0.010000,,,,,,,,0.400000,1.000000
electronics,arxiv-v1,official,dien,1,0.900000,,0.890000,0.903000,-0.003000,,,0.010000,,,,,,,,0.400000,1.000000
"""


@pytest.mark.parametrize(
    ("augru", "label", "notes"),
    [
        ({}, "BaseModel + GRU + AUGRU", []),
        ({"code_sha256": "0" * 64}, "BaseModel + GRU + AUGRU †", [NOTE_CODE]),
    ],
)
def test_rows_of_different_code_are_marked(augru: dict[str, Any], label: str, notes: list[str]) -> None:
    records = [
        run("base-model", 0, 0.85),
        run("base-model", 1, 0.85),
        run("augru", 0, 0.86),
        run("augru", 1, 0.86, **augru),
        run("dien", 0, 0.87),
        run("dien", 1, None, code_sha256="0" * 64),  # a failed run has no numbers
    ]
    made = electronics(records)
    assert [name for name in cells(made) if name.startswith(("BaseModel + GRU + AUGRU", "DIEN", "BaseModel †"))] == (
        [label, "DIEN"]
    )
    assert [note for note in made.notes if note == NOTE_CODE] == notes


def test_further_seeds_of_one_row_make_no_other_row_incomplete() -> None:
    records = [
        run(model, seed, 0.85)
        for model, count in (("base-model", 2), ("augru", 1), ("dien", 4))
        for seed in range(count)
    ]
    found = {row[0]: row[1] for row in electronics(records).sections[0].rows if row[1]}
    assert {name: cell[cell.index("(") : cell.index(")") + 1] for name, cell in found.items()} == {
        "BaseModel": "(2)",
        "BaseModel + GRU + AUGRU": "(1 of 2)",
        "DIEN": "(4)",
    }


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize(("commits", "base"), [(("0a1b", "0a1b-dirty"), "BaseModel §"), (("0a1b", None), "BaseModel")])
def test_rows_with_runs_of_code_that_was_not_committed_are_marked(
    commits: tuple[str, str | None], base: str, short: bool
) -> None:
    records = [run("base-model", seed, 0.85, commit=commit) for seed, commit in enumerate(commits)]
    records += [run("dien", 0, 0.87, commit="0a1b"), run("dien", 1, None, commit="0a1b-dirty")]  # failed: no numbers
    made = table(records, "4", ["electronics"], "arxiv-v1", "official", ["base-model", "dien"], short=short)
    assert [row[0] for row in made.sections[0].rows] == [base, "DIEN"]
    assert (NOTE_UNCOMMITTED in made.notes) == (base != "BaseModel")


def test_runs_of_two_files_are_no_row() -> None:
    files = [run("mine", seed, 0.9, settings=settings(model_sha256=sha)) for seed, sha in enumerate(("ab", "cd"))]
    with pytest.raises(UserError, match=r"cannot stand in one table: model_sha256 is ab in .* and cd in"):
        electronics(files, ["mine"])


def test_markdown_and_csv_to_the_letter() -> None:
    assert electronics(TINY).markdown() == TINY_MARKDOWN
    assert electronics(TINY).csv() == TINY_CSV


def test_the_order_of_the_records_does_not_matter() -> None:
    for seed in range(5):
        shuffled = random.Random(seed).sample(TINY, len(TINY))
        assert electronics(shuffled) == electronics(TINY)


def test_files_are_written_and_rewritten_with_the_same_bytes(tmp_path: Path) -> None:
    made = electronics(TINY)
    markdown, lines = write_table(made, tmp_path / "out", "table4")
    assert (markdown, lines) == (tmp_path / "out/table4.md", tmp_path / "out/table4.csv")
    first = markdown.read_bytes(), lines.read_bytes()
    assert first == (TINY_MARKDOWN.encode(), TINY_CSV.encode())
    write_table(electronics(TINY[::-1]), tmp_path / "out", "table4")
    assert (markdown.read_bytes(), lines.read_bytes()) == first
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["table4.csv", "table4.md"]


def test_mean_and_standard_deviation_agree_with_statistics() -> None:
    aucs = [0.8671, 0.8702, 0.8655, 0.8690, 0.8712]
    made = electronics([run("dien", seed, auc) for seed, auc in enumerate(aucs)])
    line = next(row for row in csv.DictReader(io.StringIO(made.csv())) if row["model"] == "dien")
    assert line["seeds"] == "5"
    assert float(line["auc_mean"]) == pytest.approx(sum(aucs) / 5, abs=5e-7)
    assert float(line["auc_std"]) == pytest.approx(stdev(aucs), abs=5e-7)
    assert float(line["auc_last_mean"]) == pytest.approx(sum(aucs) / 5 - 0.01, abs=5e-7)
    assert float(line["difference"]) == pytest.approx(sum(aucs) / 5 - 0.9030, abs=5e-7)


def test_rows_without_predictions_are_not_compared() -> None:
    equal = electronics([run(model, seed, 0.87) for model in ("augru", "dien") for seed in (0, 1)])
    assert [row[1][-2:] for row in equal.sections[0].rows[-2:]] == ["2)", " ?"]
    assert [section.heading for section in equal.sections] == ["electronics"]
    assert equal.sections[0].bold == frozenset()


def scored_runs(root: Path, **separations: list[float]) -> list[Record]:
    """Runs with predictions for the same 400 users; a row has a seed a given distance of positives from negatives."""
    shared = np.random.default_rng(0).normal(size=(400, 2))  # what is hard about a user is so for every model
    records = []
    for model, distances in separations.items():
        for seed, distance in enumerate(distances):
            noise = np.random.default_rng([seed, *model.encode()]).normal(size=(400, 2)) * 0.3
            score = (shared + noise + [0, distance]).ravel()
            label = np.tile([0, 1], 400)
            auc = float(roc_auc_score(label, score))
            made = run(model, seed, auc, dataset="sports")
            folder = run_folder(root, "sports", "arxiv-v1", model, "official", seed)
            folder.mkdir(parents=True)
            columns = {"user": np.repeat(np.arange(400), 2), "label": label, "score": score, "score_last": score}
            pd.DataFrame(columns).to_parquet(folder / "predictions.parquet")
            records.append(replace(made, path=folder / "record.json"))
    return records


DISTANCES = {
    "base-model": [1.0, 1.02, 0.98],
    "din": [1.4, 1.42, 1.38],
    "augru": [1.41, 1.39, 1.42],
    "dien": [2.0, 2.02, 1.98],
}


@pytest.fixture
def scored(tmp_path: Path) -> list[Record]:
    return scored_runs(tmp_path, **DISTANCES)


def test_rows_are_tested_against_basemodel_din_and_the_row_above(scored: list[Record]) -> None:
    made = table(scored, "4", ["sports"], "arxiv-v1", "official")
    main, tests = made.sections
    assert [row[0] for row in main.rows if "≈" in row[1]] == []
    assert tests.heading == "sports: differences"
    assert tests.header == ("model", "minus BaseModel", "minus DIN", "minus the row above")
    shown = {row[0]: row[1:] for row in tests.rows}
    assert set(shown) == {"BaseModel", "BaseModel + GRU + AUGRU", "DIEN"}  # DIN is no row of Table 4
    base, augru, dien = (fmean(r.reported_auc for r in scored if r.model == m) for m in ("base-model", "augru", "dien"))
    assert shown["DIEN"][0] == f"{dien - base:+.4f} (p < 0.001)"
    assert shown["DIEN"][2] == f"{dien - augru:+.4f} (p < 0.001)"
    assert float(re.search(r"p = (.*)\)", shown["BaseModel + GRU + AUGRU"][1])[1]) > 0.5


def marks(made: Table) -> dict[str, str]:
    """Row -> its mark against the row above; none for the first."""
    return {name: cell[-1] if cell[-1:] in "≠≈?" else "" for name, cell in cells(made).items() if cell}


def test_every_row_says_how_it_compares_with_the_row_above(scored: list[Record]) -> None:
    made = table(scored, "2", ["sports"], "arxiv-v1", "official", ["base-model", "din", "augru", "dien"])
    # AUGRU is no row of Table 2 and comes last, below DIEN, which is far better
    assert marks(made) == {"BaseModel": "", "DIN": "≠", "DIEN": "≠", "BaseModel + GRU + AUGRU": "≠"}
    like_din = [replace(r, model="pnn") if r.model == "augru" else r for r in scored]
    assert marks(table(like_din, "2", ["sports"], "arxiv-v1", "official"))["DIN"] == "≈"
    one_seed = [r for r in scored if r.model != "dien" or r.seed == 0]
    assert marks(table(one_seed, "2", ["sports"], "arxiv-v1", "official"))["DIEN"] == "?"
    assert "? not tested" in made.markdown()


def test_the_highest_mean_is_bold_only_where_it_is_different_from_every_other(tmp_path: Path) -> None:
    apart = scored_runs(tmp_path / "a", **DISTANCES)
    rows = ["base-model", "din", "augru", "dien"]

    def bold(records: list[Record]) -> list[str]:
        (section, *_) = table(records, "4", ["sports"], "arxiv-v1", "official", rows).sections
        return [section.rows[i][0] for i, _ in section.bold]

    assert bold(apart) == ["DIEN"]
    tied = scored_runs(tmp_path / "b", **DISTANCES | {"dien": [1.42, 1.40, 1.43]})
    assert bold(tied) == []
    untested = [r for r in apart if r.model != "augru" or r.seed == 0]  # nobody knows how AUGRU compares
    assert bold(untested) == []
    assert bold([r for r in apart if r.model == "dien"]) == []  # nothing to compare it with


def test_a_table_s_interval_is_over_users_and_seeds(tmp_path: Path) -> None:
    """With seeds that lie far apart it is wider than the test users alone would make it."""
    records = scored_runs(tmp_path, **{"base-model": [1.0, 1.0, 1.0], "dien": [1.2, 1.8, 2.4]})
    made = table(records, "4", ["sports"], "arxiv-v1", "official")
    lines = {line["model"]: line for line in csv.DictReader(io.StringIO(made.csv()))}
    width = {
        model: float(lines[model]["auc_high"]) - float(lines[model]["auc_low"]) for model in ("base-model", "dien")
    }
    assert width["dien"] > 3 * width["base-model"]
    for model in ("base-model", "dien"):
        found = estimate([read_scores(r.path.parent).reported for r in records if r.model == model])
        assert float(lines[model]["auc_low"]) == pytest.approx(found.interval.low, abs=1e-6)
    one = table(records[:1], "4", ["sports"], "arxiv-v1", "official")
    assert one.csv().splitlines()[1].split(",")[10:12] == ["", ""]


def test_the_csv_has_intervals_and_corrected_p_values(scored: list[Record]) -> None:
    made = table(scored, "4", ["sports"], "arxiv-v1", "official")
    lines = {line["model"]: line for line in csv.DictReader(io.StringIO(made.csv()))}
    for model in ("base-model", "augru", "dien"):
        line = lines[model]
        assert float(line["auc_low"]) < float(line["auc_mean"]) < float(line["auc_high"])
        assert float(line["best_minus_last"]) == pytest.approx(0.01)
    assert lines["base-model"]["p_base_model"] == lines["gru-attention"]["p_base_model"] == ""
    assert lines["augru"]["p_base_model"] == lines["augru"]["p_row_above"]  # the row above is BaseModel
    # Holm: five different pairs, and the smallest p is multiplied by five
    rows = {
        m: [read_scores(r.path.parent).reported for r in scored if r.model == m]
        for m in ("base-model", "augru", "din", "dien")
    }
    pairs = [
        ("base-model", "augru"),
        ("augru", "dien"),
        ("base-model", "dien"),
        ("din", "base-model"),
        ("din", "augru"),
        ("din", "dien"),
    ]
    p_values = {pair: compare(rows[pair[0]], rows[pair[1]]).p for pair in pairs}
    expected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    assert float(lines["dien"]["p_din"]) == pytest.approx(expected["din", "dien"], rel=0.01)
    assert float(lines["augru"]["p_din"]) == pytest.approx(expected["din", "augru"], rel=0.01)


def test_a_row_that_is_not_shown_does_no_harm(scored: list[Record]) -> None:
    other_steps = [replace(r, settings=settings(steps=100)) if r.model == "din" else r for r in scored]
    made = table(other_steps, "4", ["sports"], "arxiv-v1", "official")
    assert made.sections[1].header == ("model", "minus BaseModel", "minus the row above")
    with pytest.raises(UserError, match="steps is"):
        table(other_steps, "2", ["sports"], "arxiv-v1", "official")


def test_predictions_of_other_users_are_refused(scored: list[Record]) -> None:
    folder = scored[0].path.parent
    pd.read_parquet(folder / "predictions.parquet").iloc[:-2].to_parquet(folder / "predictions.parquet")
    with pytest.raises(UserError, match="400 test users"):
        table(scored, "4", ["sports"], "arxiv-v1", "official")


def probes(auc: float, sha256: str = "ab" * 32) -> dict[str, Probes]:
    rules = (
        Probe("catalogue-order", "just behind", 0, auc, auc - 0.01, auc + 0.01),
        Probe("logistic-regression", "all rules", 8, auc + 0.02, auc + 0.01, auc + 0.03),
    )
    return {"electronics": Probes("electronics", "arxiv-v1", "0123abcd", sha256, 100, rules)}


def test_probes_stand_below_the_rows_and_warn_where_they_beat_basemodel() -> None:
    made = table(TINY, "4", ["electronics"], "arxiv-v1", "official", probes=probes(0.86))
    section = made.sections[0]
    assert [row[:2] for row in section.rows[-2:]] == [
        ("probe: catalogue order, 0 parameters", "0.8600"),
        ("probe: logistic regression, 8 parameters", "0.8800"),
    ]
    assert (
        "(that the candidate is just behind) scores 0.8600 on electronics under arxiv-v1, more than every row but DIEN."
        in section.note
    )
    assert section.note in made.markdown()
    assert made.csv().splitlines()[1].endswith(",0.860000,0.880000,yes,,0.400000,1.000000")
    every = table(TINY, "4", ["electronics"], "arxiv-v1", "official", probes=probes(0.95))
    assert "more than every row." in every.sections[0].note


def test_probes_below_basemodel_do_not_warn_and_those_of_other_samples_are_not_shown() -> None:
    below = table(TINY, "4", ["electronics"], "arxiv-v1", "official", probes=probes(0.6))
    assert below.sections[0].note == ""
    assert below.csv().splitlines()[1].endswith(",0.600000,0.620000,no,,0.400000,1.000000")
    assert below.sections[0].rows[-1][0].startswith("probe")
    fitted = table(TINY, "4", ["electronics"], "arxiv-v1", "official", probes=probes(0.84))
    assert "a rule with 8 parameters (all rules)" in fitted.sections[0].note
    other = table(TINY, "4", ["electronics"], "arxiv-v1", "official", probes=probes(0.95, "cd" * 32))
    assert other == electronics(TINY)


def test_unknown_items_stand_below_the_rows_where_they_tell_positives_from_negatives() -> None:
    found = probes(0.6)["electronics"]
    label = "in no training sample (9.3 % of test positives, 0.0 % of negatives)"
    for low, shown in ((0.54, True), (0.49, False)):
        rule = Probe("unknown-item", label, 0, 0.547, low, 0.555)
        with_it = {"electronics": replace(found, probes=(*found.probes, rule))}
        rows = table(TINY, "4", ["electronics"], "arxiv-v1", "official", probes=with_it).sections[0].rows
        assert ((f"probe: candidate {label}, 0 parameters", "0.5470") in [row[:2] for row in rows]) is shown


def test_a_short_table_has_auc_paper_and_one_probe(scored: list[Record]) -> None:
    made = table(TINY, "4", ["electronics"], "arxiv-v1", "official", probes=probes(0.86), short=True)
    assert made.sections[0].header == ("model", "AUC", "paper")
    assert made.sections[0].rows[-2:] == (
        ("DIEN", "0.9000 (1 of 2, 1 failed) ?", "0.9030"),
        ("probe: catalogue order, 0 parameters", "0.8600", ""),
    )
    assert len(table(scored, "4", ["sports"], "arxiv-v1", "official", short=True).sections) == 1


def test_an_own_row_stands_where_it_has_runs_and_a_row_of_the_paper_always() -> None:
    records = [run("base-model", 0, 0.85), run("base-model", 0, 0.84, dataset="books"), run("my-model", 0, 0.86)]
    both = table(records, "4", ["electronics", "books"], "arxiv-v1", "official", ["base-model", "dien", "my-model"])
    assert [[*cells(both, section)] for section in (0, 1)] == [["BaseModel", "DIEN", "my-model"], ["BaseModel", "DIEN"]]
    assert "my-model" in cells(electronics(records[:1], ["base-model", "my-model"]))  # asked for, and run nowhere yet


def test_fewer_seeds_and_failed_runs_are_marked() -> None:
    records = [run(model, seed, 0.85) for model in ("base-model", "gru-attention") for seed in (0, 1, 2)]
    records += [run("augru", 0, 0.86), run("dien", 0, None), run("dien", 1, None)]
    shown = cells(electronics(records))
    assert shown["BaseModel"] == "0.8500 ± 0.0000 (3)"
    assert shown["BaseModel + GRU + AUGRU"] == "0.8600 (1 of 3) ?"
    assert shown["DIEN"] == "(0 of 3, 2 failed)"
    assert shown["BaseModel + GRU + AGRU"] == ""


def test_other_seeds_than_those_of_the_row_above_are_marked() -> None:
    records = [run("augru", seed, 0.86) for seed in (0, 1)] + [run("dien", seed, 0.87) for seed in (2, 3)]
    assert cells(electronics(records))["DIEN"] == "0.8700 ± 0.0000 (2 of 4) ?"


def test_no_runs_give_blank_cells() -> None:
    made = electronics([])
    assert made.title.endswith("protocol arxiv-v1, variant official, no runs yet")
    assert set(cells(made).values()) == {""}
    assert "**" not in made.markdown()
    assert made.csv().splitlines()[1] == "electronics,arxiv-v1,official,base-model,0,,,,0.853800,,,,,,,,,,,,,"


def test_other_protocols_variants_and_data_sets_are_left_out() -> None:
    others = [
        run("dien", 0, 0.5, protocol="clean"),
        run("dien", 0, 0.5, variant="paper"),
        run("dien", 0, 0.5, dataset="sports"),
    ]
    assert electronics(TINY + others) == electronics(TINY)


def test_rows_that_the_paper_lacks_come_last() -> None:
    models = ["mine", "dien", "wide-deep", "base-model", "dien"]
    made = electronics([run(model, 0, 0.8) for model in set(models)], models)
    assert [row[0] for row in made.sections[0].rows] == ["BaseModel", "DIEN", "mine", "Wide&Deep"]
    assert [row[4] for row in made.sections[0].rows] == ["0.8538", "0.9030", "", "0.8546"]
    assert [line.split(",")[3] for line in made.csv().splitlines()[1:]] == [
        "base-model",
        "dien",
        "mine",
        "wide-deep",
    ]


def test_the_paper_s_electronics_stand_beside_subsets_in_a_column_of_their_own() -> None:
    made = table([run("dien", 0, 0.89, dataset="sports")], "2", ["sports"], "arxiv-v1", "official")
    assert made.sections[0].header == (
        "model",
        "AUC",
        "last step",
        "best − last",
        "paper, Electronics",
        "log loss",
        "calibration",
    )
    assert made.sections[0].rows[-1] == ("DIEN", "0.8900 (1)", "0.8800", "+0.0100", "0.9030", "0.4000", "1.000")
    assert "a point of comparison" in made.markdown()
    line = made.csv().splitlines()[-1]
    assert line == "sports,arxiv-v1,official,dien,1,0.890000,,0.880000,,,,,0.010000,,,,,,,,0.400000,1.000000"


@pytest.mark.parametrize("dataset", ["taobao-ad", "taobao-ad@0.25"])
def test_what_others_printed_for_a_public_log_stands_beside_it_with_how_it_was_measured(dataset: str) -> None:
    place = {"protocol": "next-day", "selection": "validation"}
    runs = [run(model, 0, 0.64, dataset=dataset, **place) for model in ("din", "dien")]
    made = table(runs, "3", [dataset], "next-day", "official", ["din", "dien"])
    section = made.sections[0]
    columns = [section.header.index(name) for name in ("DMR", "DSIN", "BARS")]
    assert [[row[j] for j in columns] for row in section.rows] == [
        ["0.6416", "0.6330", "0.6524"],
        ["0.6420", "0.6343", ""],
    ]
    assert any("mean of 5 runs" in note and "best on test" in note for note in made.notes)
    other = table([run("din", 0, 0.6, dataset="market", **place)], "3", ["market"], "next-day", "official")
    assert not {"DMR", "DSIN", "BARS"} & set(other.sections[0].header)


def test_no_printed_figures_under_other_protocols() -> None:
    records = [run("dien", 0, 0.6, protocol="clean", selection="validation")]
    made = table(records, "4", ["electronics", "sports"], "clean", "official")
    header = ("model", "AUC", "last step", "best − last")
    assert [section.header for section in made.sections] == [
        (*header, "log loss", "calibration"),
        header,
    ]  # none without runs
    assert "AUC best on validation users" in made.title
    line = made.csv().splitlines()[6]
    assert line == "electronics,clean,official,dien,1,0.600000,,0.590000,,,,,0.010000,,,,,,,,0.400000,1.000000"


def test_aaai_figures_stand_with_their_spread() -> None:
    made = table([], "4", ["books"], "aaai-2019", "official")
    assert made.sections[0].rows[-1] == ("DIEN", "", "", "", "0.8453 ± 0.00476", "")


def test_steps_are_told_for_each_data_set_where_they_differ() -> None:
    records = [
        run("dien", 0, 0.9),
        run("dien", 0, 0.9, dataset="books", settings=settings(steps=25000, batch_size=64)),
    ]
    made = table(records, "4", ["books", "electronics"], "arxiv-v1", "official")
    assert made.title.endswith("AUC best on test, 25,000 steps on books, 900 steps on electronics")


HOSTILE = "a|b\n**c** `d` [e](f) <g> $h$ &amp; \\"


def test_hostile_names_are_escaped_everywhere() -> None:
    made = electronics([run("dien", 0, 0.8)], ["dien", HOSTILE])
    text = made.markdown()
    row = r"| a\|b \*\*c\*\* \`d\` \[e\](f) \<g\> \$h\$ \&amp; \\ |  |  |  |  |  |  |  |"
    assert text.splitlines()[7] == row
    assert list(csv.reader(io.StringIO(made.csv())))[2][3] == HOSTILE
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(electronics([run("dien", 0, 0.8)], ["dien", "[bold]x[/bold]"]))
    assert "[bold]x[/bold]" in console.export_text()


def test_escaping_keeps_harmless_names() -> None:
    assert escape_markdown("Wide&Deep + GRU (2)") == "Wide&Deep + GRU (2)"
    assert escape_markdown("a\r\n\tb\u2028c") == "a b c"


def test_the_screen_shows_every_cell() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(electronics(TINY))
    text = console.export_text()
    for expected in (
        "electronics",
        "Two layer GRU attention",
        "0.8540 ± 0.0014 (2)",
        "0.9000 (1 of 2",
        "-0.0030",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": settings(steps=100)}, "steps is 900 in {0} and 100 in {1}"),
        ({"protocol_hash": "ffff"}, "protocol_hash is 0123abcd in {0} and ffff in {1}"),
        ({"data_sha256": "cd" * 32}, f"data_sha256 is {'ab' * 32} in {{0}} and {'cd' * 32} in {{1}}"),
        ({"selection": "last"}, "selection is test in {0} and last in {1}"),
    ],
)
def test_mixed_runs_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    first, second = run("augru", 0, 0.87), run("dien", 0, 0.9, **changes)
    with pytest.raises(UserError) as caught:
        electronics([first, second])
    assert message.format(first.place, second.place) in str(caught.value)


def test_data_sets_may_differ_in_steps_and_rows_in_batch_size() -> None:
    mixed = run("dien", 0, 0.9, settings=settings(batch_size=64))
    assert "batch" not in electronics([run("augru", 0, 0.87), mixed]).title
    with pytest.raises(UserError, match=r"batch_size is 64 in .*seed-0.* and 128 in .*seed-1"):
        electronics([mixed, run("dien", 1, 0.9)])


@pytest.mark.parametrize(("name", "now", "before"), [
    ("adam_epsilon", "tensorflow", "torch"),
    ("pairs_together", True, False),
    ("unknown_user", "most-frequent", "own"),
])  # fmt: skip
def test_seeds_of_a_row_that_were_trained_otherwise_are_refused(name: str, now: object, before: object) -> None:
    other = run("dien", 1, 0.9, settings=settings(**{name: now}))
    with pytest.raises(UserError, match=rf"{name} is {before} in .*seed-0.* and {now} in .*seed-1"):
        electronics([run("dien", 0, 0.9), other])
    electronics([run("din", 0, 0.9), other])  # rows may differ: they are not tested against each other
    electronics([run(f"dien+{name}={now}", 0, 0.9), replace(other, model=f"dien+{name}={now}")])  # said by its name


def test_a_run_counts_once() -> None:
    with pytest.raises(UserError, match="two records of one run"):
        electronics([run("dien", 0, 0.9), run("dien", 1, 0.9), run("dien", 0, 0.8)])


def test_rows_that_were_trained_otherwise_are_named_and_not_tested() -> None:
    place = ("beauty", "clean", "official")
    mine = [r for r in committed().values() if (r.dataset, r.protocol, r.variant) == place and r.model in REFERENCES]
    mine += [r for r in committed().values() if (r.dataset, r.protocol, r.variant, r.model) == (*place, "dien")]
    assert {pair for result in pairs_of(mine) for pair in result} == {
        ("din", "base-model"), ("base-model", "din"), ("dien", "base-model"), ("base-model", "dien"),
        ("dien", "din"), ("din", "dien"),
    }  # fmt: skip
    other = [replace(r, settings=r.settings | {"pairs_together": False}) if r.model == "din" else r for r in mine]
    assert {pair for result in pairs_of(other) for pair in result} == {("dien", "base-model"), ("base-model", "dien")}
    text = table(other, "4", ["beauty"], "clean", "official", ["base-model", "din", "dien"]).markdown()
    assert "DIN ‡ (pairs_together)" in text.replace("\\", "")
    assert "DIEN ‡" not in text
    assert "not tested against each other" in text
    assert "‡" not in table(mine, "4", ["beauty"], "clean", "official", ["base-model", "din", "dien"]).markdown()


def pairs_of(records: list[Record]) -> list[dict[tuple[str, str], Difference]]:
    found = results_of(records, "4", ["beauty"], "clean", "official", ["base-model", "din", "dien"])
    return [result.tested for result in found]


def test_unknown_table() -> None:
    with pytest.raises(UserError, match="unknown table '9'"):
        table([], "9", ["books"], "arxiv-v1", "official")


def test_table_1_shows_measured_and_printed_counts() -> None:
    made = table1(
        {
            "electronics": Statistics(192_403, 63_001, 800, None),
            "sports": Statistics(35_598, 18_357, None, 35_598),
        }
    )
    assert (
        made.markdown()
        == """\
## Table 1: The statistics of datasets

| data set | users | goods | categories | samples |
| --- | ---: | ---: | ---: | ---: |
| electronics | 192,403 | 63,001 | 800 ≠ |  |
| electronics, paper | 192,403 | 63,001 | 801 | 192,403 |
| sports | 35,598 | 18,357 |  | 35,598 |

≠ differs from the paper's count.
"""
    )
    assert (
        made.csv()
        == """\
dataset,users,goods,categories,samples,paper_users,paper_goods,paper_categories,paper_samples
electronics,192403,63001,800,,192403,63001,801,192403
sports,35598,18357,,35598,,,,
"""
    )


def test_the_csv_columns_are_those_of_the_contract() -> None:
    contract = "dataset,protocol,variant,model,seeds,auc_mean,auc_std,auc_last_mean,paper_auc,difference"
    assert contract == CSV_HEADER


def test_printed_figures_belong_to_their_protocol_and_data_set_alone() -> None:
    assert paper_auc("electronics", "din", "arxiv-v1") == 0.8608
    assert paper_auc("electronics", "din", "aaai-2019") == 0.7603
    assert paper_auc("books", "wide-deep", "arxiv-v1") == 0.8656
    for dataset, model, protocol in [
        ("electronics", "din", "clean"),
        ("electronics", "din", "din-2018"),
        ("sports", "din", "arxiv-v1"),
        ("electronics", "mine", "arxiv-v1"),
    ]:
        assert paper_auc(dataset, model, protocol) is None


def test_every_row_of_the_tables_has_both_printed_figures() -> None:
    rows = {row.model for rows in paper.TABLES.values() for row in rows}
    for versions in (paper.V1_AUC, paper.AAAI_AUC):
        for dataset in ("electronics", "books"):
            assert set(versions[dataset]) == rows
            assert max(versions[dataset], key=lambda model: versions[dataset][model].mean) == "dien"
    assert all(auc.std for figures in paper.AAAI_AUC.values() for auc in figures.values())
