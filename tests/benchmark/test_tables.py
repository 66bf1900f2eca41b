"""Tables from records: hand-worked figures, exact text, marks, hostile names, what must not be averaged."""

import csv
import io
import math
import random
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from rich.console import Console

from benchmark import paper
from benchmark.paper import Statistics, paper_auc
from benchmark.records import Record, parse_record, run_folder
from benchmark.tables import CSV_HEADER, Table, escape_markdown, pooled_std, table, table1, write_table
from datamodules.errors import UserError


def run(model: str, seed: int, auc: float | None, **changes: Any) -> Record:
    """A run of 900 steps on electronics whose last AUC is 0.01 below its best; no AUC: a failed run."""
    fields = {
        "dataset": "electronics",
        "protocol": "arxiv-v1",
        "protocol_hash": "0123abcd",
        "model": model,
        "variant": "official",
        "seed": seed,
        "selection": "test",
        "auc": {"last": auc and auc - 0.01, "validation": auc, "test": auc},
        "logloss": auc and 0.4,
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
        "data_sha256": "ab" * 32,
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

# base-model: mean 0.852, std sqrt(2 * 0.002^2) = 0.002828; augru: mean 0.854, std 0.001414; their pooled std
# is sqrt((8e-6 + 2e-6) / 2) = 0.002236, more than the 0.002 between them.
TINY_MARKDOWN = """\
## Table 4: Effect of AUGRU and auxiliary loss, protocol arxiv-v1, variant official, AUC best on test, \
batch 128, 900 steps

### electronics

| model | AUC | last step | paper | difference |
| --- | ---: | ---: | ---: | ---: |
| BaseModel | 0.8520 ± 0.0028 (2) | 0.8420 | 0.8538 | -0.0018 |
| Two layer GRU attention |  |  | 0.8640 |  |
| BaseModel + GRU + AIGRU |  |  | 0.8663 |  |
| BaseModel + GRU + AGRU |  |  | 0.8666 |  |
| BaseModel + GRU + AUGRU | 0.8540 ± 0.0014 (2) ≈ | 0.8440 | 0.8675 | -0.0135 |
| DIEN | **0.9000 (1 of 2, 1 failed)** | 0.8900 | 0.9030 | -0.0030 |

Mean test AUC ± unbiased standard deviation (seeds); the highest mean of a data set is in bold.

≈ The mean lies within one pooled standard deviation of the nearest filled row above: which of the two \
is better is open. No ≈ is no proof of a difference; rows with one seed are not compared.

(n of m): only n of the m seeds of this data set are finished in this row.
"""

TINY_CSV = """\
dataset,protocol,variant,model,seeds,auc_mean,auc_std,auc_last_mean,paper_auc,difference
electronics,arxiv-v1,official,base-model,2,0.852000,0.002828,0.842000,0.853800,-0.001800
electronics,arxiv-v1,official,gru-attention,0,,,,0.864000,
electronics,arxiv-v1,official,aigru,0,,,,0.866300,
electronics,arxiv-v1,official,agru,0,,,,0.866600,
electronics,arxiv-v1,official,augru,2,0.854000,0.001414,0.844000,0.867500,-0.013500
electronics,arxiv-v1,official,dien,1,0.900000,,0.890000,0.903000,-0.003000
"""


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


def test_pooled_standard_deviation_of_unequal_groups() -> None:
    first, second = [0.1, 0.4, 0.7], [0.2, 0.3]
    within = sum((x - 0.4) ** 2 for x in first) + sum((x - 0.25) ** 2 for x in second)
    assert pooled_std((3, stdev(first)), (2, stdev(second))) == pytest.approx(math.sqrt(within / 3))


def test_rows_far_apart_or_with_one_seed_are_not_marked() -> None:
    far = [run("augru", seed, 0.87 + 0.001 * seed) for seed in range(3)]
    far += [run("dien", seed, 0.90 + 0.001 * seed) for seed in range(3)]
    assert "≈" not in electronics(far).markdown()
    assert "≈" not in electronics([run("augru", 0, 0.87), run("dien", 0, 0.87)]).markdown()


def test_equal_means_are_close_and_share_the_bold() -> None:
    made = electronics([run(model, seed, 0.87) for model in ("augru", "dien") for seed in (0, 1)])
    assert made.sections[0].bold == {(4, 1), (5, 1)}
    assert cells(made)["DIEN"] == "0.8700 ± 0.0000 (2) ≈"


def test_fewer_seeds_and_failed_runs_are_marked() -> None:
    records = [run("base-model", seed, 0.85) for seed in (0, 1, 2)]
    records += [run("augru", 0, 0.86), run("dien", 0, None), run("dien", 1, None)]
    shown = cells(electronics(records))
    assert shown["BaseModel"] == "0.8500 ± 0.0000 (3)"
    assert shown["BaseModel + GRU + AUGRU"] == "0.8600 (1 of 3)"
    assert shown["DIEN"] == "(0 of 3, 2 failed)"
    assert shown["BaseModel + GRU + AGRU"] == ""


def test_other_seeds_than_those_of_the_row_above_are_marked() -> None:
    records = [run("augru", seed, 0.86) for seed in (0, 1)] + [run("dien", seed, 0.87) for seed in (2, 3)]
    assert cells(electronics(records))["DIEN"] == "0.8700 ± 0.0000 (2 of 4)"


def test_no_runs_give_blank_cells() -> None:
    made = electronics([])
    assert made.title.endswith("protocol arxiv-v1, variant official, no runs yet")
    assert set(cells(made).values()) == {""}
    assert "**" not in made.markdown()
    assert made.csv().splitlines()[1] == "electronics,arxiv-v1,official,base-model,0,,,,0.853800,"


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
    assert [row[3] for row in made.sections[0].rows] == ["0.8538", "0.9030", "", "0.8546"]
    assert [line.split(",")[3] for line in made.csv().splitlines()[1:]] == [
        "base-model",
        "dien",
        "mine",
        "wide-deep",
    ]


def test_the_paper_s_electronics_stand_beside_subsets_in_a_column_of_their_own() -> None:
    made = table([run("dien", 0, 0.89, dataset="sports")], "2", ["sports"], "arxiv-v1", "official")
    assert made.sections[0].header == ("model", "AUC", "last step", "paper, Electronics")
    assert made.sections[0].rows[-1] == ("DIEN", "0.8900 (1)", "0.8800", "0.9030")
    assert "a point of comparison" in made.markdown()
    assert made.csv().splitlines()[-1] == "sports,arxiv-v1,official,dien,1,0.890000,,0.880000,,"


def test_no_printed_figures_under_other_protocols() -> None:
    records = [run("dien", 0, 0.6, protocol="clean", selection="validation")]
    made = table(records, "4", ["electronics", "sports"], "clean", "official")
    assert [section.header for section in made.sections] == [("model", "AUC", "last step")] * 2
    assert "AUC best on validation users" in made.title
    assert made.csv().splitlines()[6] == "electronics,clean,official,dien,1,0.600000,,0.590000,,"


def test_aaai_figures_stand_with_their_spread() -> None:
    made = table([], "4", ["books"], "aaai-2019", "official")
    assert made.sections[0].rows[-1] == ("DIEN", "", "", "0.8453 ± 0.00476", "")


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
    row = r"| a\|b \*\*c\*\* \`d\` \[e\](f) \<g\> \$h\$ \&amp; \\ |  |  |  |  |"
    assert text.splitlines()[7] == row
    assert list(csv.reader(io.StringIO(made.csv())))[2][3] == HOSTILE
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(electronics([run("dien", 0, 0.8)], ["dien", "[bold]x[/bold]"]))
    assert "[bold]x[/bold]" in console.export_text()


def test_escaping_keeps_harmless_names() -> None:
    assert escape_markdown("Wide&Deep + GRU (2)") == "Wide&Deep + GRU (2)"
    assert escape_markdown("a\r\n\tb\u2028c") == "a b c"


def test_the_screen_shows_every_cell() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(electronics(TINY))
    text = console.export_text()
    for expected in (
        "electronics",
        "Two layer GRU attention",
        "0.8540 ± 0.0014 (2) ≈",
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
    assert message.format(first.path, second.path) in str(caught.value)


def test_data_sets_may_differ_in_steps_and_rows_in_batch_size() -> None:
    mixed = run("dien", 0, 0.9, settings=settings(batch_size=64))
    assert "batch" not in electronics([run("augru", 0, 0.87), mixed]).title
    with pytest.raises(UserError, match=r"batch_size is 64 in .*seed-0.* and 128 in .*seed-1"):
        electronics([mixed, run("dien", 1, 0.9)])


def test_a_run_counts_once() -> None:
    with pytest.raises(UserError, match="two records of one run"):
        electronics([run("dien", 0, 0.9), run("dien", 1, 0.9), run("dien", 0, 0.8)])


def test_unknown_table() -> None:
    with pytest.raises(UserError, match="unknown table '3'"):
        table([], "3", ["books"], "arxiv-v1", "official")


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
