"""What the build puts into the study's pages, from made-up runs: each figure worked out again from the records."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from benchmark.analysis import metrics
from benchmark.analysis.comparison import Comparison, compare, holm
from benchmark.analysis.probes import Probe, Probes
from benchmark.analysis.summary import Difference
from benchmark.analysis.training import UNSAID
from benchmark.leaderboard import study, study_figure
from benchmark.leaderboard.marks import fill, marks_of
from benchmark.leaderboard.study import PAGES, study_parts, write_study
from benchmark.leaderboard.study_runs import LADDER, Runs, difference, finder, said, verdicts
from benchmark.records.record import AucBySelection, Record, line_of, parse_record, run_folder
from datamodules.errors import UserError
from tests.benchmark.boards import BOARD, committed, pairs

USERS = 400


def make_run(
    root: Path,
    model: str,
    protocol: str,
    seed: int,
    distance: float,
    dataset: str = "sports",
    variant: str = "official",
) -> Record:
    """A run on 400 users; `distance` says how well the positives stand above the negatives."""
    rng = np.random.default_rng([seed, *model.encode(), *protocol.encode()])
    score = (rng.normal(size=(USERS, 2)) + np.array([0, distance])).ravel()
    label = np.tile([0, 1], USERS).astype(np.int8)
    value = metrics.auc(pairs(score[::2], score[1::2]))
    selection = "validation" if protocol == "clean" else "test"
    path = run_folder(root, "sports", protocol, model, variant, seed) / "record.json"
    path.parent.mkdir(parents=True)
    table = pd.DataFrame(
        {
            "user": np.repeat(np.arange(USERS), 2),
            "label": label,
            "score": score,
            "score_last": score,
            "score_test": score,
        }
    )
    table.to_parquet(path.parent / "predictions.parquet")
    (path.parent / "metrics.csv").write_text(f"step,test_auc\n400,0.5\n500,{value - 0.03}\n")
    fields = json.loads(line_of(committed()[Path("sports/arxiv-v1/dien-official/seed-0")]))
    fields |= {"dataset": "sports", "protocol": protocol, "model": model, "variant": variant, "seed": seed}
    fields |= {"selection": selection, "auc": {"last": value - 0.02, "validation": value - 0.01, "test": value}}
    return parse_record(fields, path)


def probes(auc: float, protocol: str) -> Probes:
    rule = Probe("catalogue-order", "just behind", 0, auc, auc, auc)
    return Probes("sports", protocol, "ab", "ab" * 32, USERS, (rule,))


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    levels = {"arxiv-v1": 2.0, "aaai-2019": 1.5, "random-ties": 1.2, "clean": 1.0}
    made = [
        make_run(tmp_path, model, protocol, seed, distance + 0.3 * (model == "dien"))
        for protocol, distance in levels.items()
        for model in ("base-model", "augru", "dien")
        for seed in (0, 1)
    ]
    made.append(make_run(tmp_path, "dien+auxiliary_weight=2", "clean", 1, 1.6))
    made.append(make_run(tmp_path, "dien", "clean", 0, 1.3, variant="paper"))
    return made


def aucs(records: list[Record], model: str, protocol: str, variant: str = "official") -> dict[int, float]:
    return {
        r.seed: float(r.auc.test or 0)
        for r in records
        if (r.model, r.protocol, r.variant) == (model, protocol, variant)
    }


def lines(page: str, start: str) -> list[list[str]]:
    """The cells of every table line that begins so."""
    found = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found]


def line(page: str, start: str) -> list[str]:
    """The cells of the first table line that begins so."""
    return lines(page, start)[0]


def parts_of(records: list[Record], measured: Mapping[tuple[str, str], Probes] = {}) -> dict[str, str]:
    return {name: "\n".join(lines) for name, lines in study_parts(finder(records), measured, {}).items()}


def test_levels_and_differences_are_those_of_the_records(records: list[Record]) -> None:
    measured = {("sports", "arxiv-v1"): probes(0.91, "arxiv-v1"), ("sports", "aaai-2019"): probes(0.66, "aaai-2019")}
    parts = parts_of(records, measured)
    a, b = list(aucs(records, "dien", "arxiv-v1").values()), list(aucs(records, "dien", "aaai-2019").values())
    cells = line(parts["levels"], "`arxiv-v1`")
    assert cells[5] == f"{np.mean(a):.3f} ± {np.std(a, ddof=1):.3f} (2)"
    assert cells[6] == "0.910"
    assert cells[2] == ""  # no DIN
    assert line(parts["the way"], "`arxiv-v1`")[1:3] == [cells[5], "0.910"]
    worth = line(parts["worth"], "catalogue order instead")
    assert worth[3].startswith(f"{np.mean(a) - np.mean(b):+.3f} ± ")
    assert worth[4] == "+0.250"
    assert line(parts["worth"], "checkpoint best on test instead of the last")[1] == "+0.020 (2)"
    assert line(parts["worth"], "checkpoint best on test instead of best on validation")[1] == "+0.010 (2)"


def test_settings_and_variants_are_compared_over_common_seeds(records: list[Record]) -> None:
    parts = parts_of(records)
    clean = aucs(records, "dien", "clean")
    changed = aucs(records, "dien+auxiliary_weight=2", "clean")[1]
    assert line(parts["settings"], "alpha = 2")[3] == f"{changed - clean[1]:+.3f} (1)"
    paper = aucs(records, "dien", "clean", "paper")[0]
    assert line(parts["variants"], "sports, `clean`")[5] == f"{paper - clean[0]:+.3f} (1)"
    assert parts["DIEN as printed"] == f"- not tested: `clean` on sports ({paper - clean[0]:+.3f})"


def test_the_first_pass_is_that_of_the_curves(records: list[Record]) -> None:
    page = parts_of(records)["first pass"]
    clean, paper = list(aucs(records, "dien", "clean").values()), aucs(records, "dien", "clean", "paper")[0]
    assert line(page, "sports, `official`")[5] == f"{np.mean(clean) - 0.03:.3f} (2)"
    assert line(page, "sports, `paper`")[1:] == ["", "", "", "", f"{paper - 0.03:.3f} (1)"]


def test_choices_of_training_are_compared_with_the_row_without_them(records: list[Record], tmp_path: Path) -> None:
    model = "dien+unknown_user=own"
    records.append(make_run(tmp_path, model, "clean", 1, 1.6))
    parts = parts_of(records)
    gain = aucs(records, model, "clean")[1] - aucs(records, "dien", "clean")[1]
    (cells,) = (line.strip("| ").split(" | ") for line in parts["choices"].splitlines()[2:])
    assert cells == [
        "sports, `clean`: users that training never saw: an untrained row (19)", "", "", f"{gain:+.3f} (1)",
    ]  # fmt: skip
    last = parts["choices at the last step"].splitlines()[2]
    assert last.endswith(f"| {gain:+.3f} (1) |")  # both are 0.02 below their best
    assert f"- not tested: DIEN on sports, `clean` ({gain:+.3f})" in parts["verdicts of the choices"]
    test = Difference(Comparison(-0.02, 0.001, 8.0, 0.001), 0.001)
    parts_tested = study_parts(finder(records), {}, {("sports", "clean", "official", model, "dien"): test})
    assert "- lower: DIEN on sports, `clean` (-0.020)" in parts_tested["verdicts of the choices"]


def test_what_shuffling_samples_adds_to_the_paper_variant(records: list[Record], tmp_path: Path) -> None:
    model = "dien+pairs_together=false"
    records.append(make_run(tmp_path, model, "clean", 0, 1.6, variant="paper"))
    gain = aucs(records, model, "clean", "paper")[0] - aucs(records, "dien", "clean", "paper")[0]
    (cells,) = (line.strip("| ").split(" | ") for line in parts_of(records)["choices"].splitlines()[2:])
    assert cells == [
        "sports, `clean`: variant `paper`, samples shuffled in place of histories (21)", "", "", f"{gain:+.3f} (1)",
    ]  # fmt: skip
    verdict = "variant `paper`, samples shuffled in place of histories (21):\n\n- {} ({:+.3f})\n"
    assert verdict.format("not tested: DIEN on sports, `clean`", gain) in parts_of(records)["verdicts of the choices"]
    test = Difference(Comparison(-0.02, 0.001, 8.0, 0.001), 0.001)
    tested = {("sports", "clean", "paper", model, "dien"): test}
    page = "\n".join(study_parts(finder(records), {}, tested)["verdicts of the choices"])
    assert verdict.format("lower: DIEN on sports, `clean`", -0.02) in page


def test_runs_that_were_trained_otherwise_are_not_tested(records: list[Record]) -> None:
    records = [replace(r, settings=r.settings | UNSAID) for r in records]
    options = {"pairs_together": True, "adam_epsilon": "tensorflow", "unknown_user": "most-frequent"}
    for name, value in options.items():
        mixed = [replace(r, settings=r.settings | {name: value}) if r.protocol == "clean" else r for r in records]
        parts = parts_of(mixed)
        assert parts["negatives that the user may know"].startswith("- not tested: BaseModel on sports (")
        assert re.search(r"^\| negatives that the user may know \| \+0\.\d+ ‡ \(2\) ", parts["worth"], re.MULTILINE)
        assert parts["catalogue order instead of time"].startswith("- higher: ")
        # Variants differ in two of these by what they are, and share the third.
        both = [replace(r, settings=r.settings | {name: value}) if r.variant == "official" else r for r in records]
        assert ("‡" in parts_of(both)["variants"]) is (name == "pairs_together")
    assert "‡" not in parts_of(records)["worth"]


def test_a_difference_has_the_interval_of_the_paired_test(records: list[Record]) -> None:
    clean = [r for r in records if r.protocol == "clean" and r.variant == "official"]
    runs = {m: Runs({r.seed: r for r in clean if r.model == m}) for m in ("augru", "dien")}
    frames = {
        m: [pd.read_parquet(r.path.parent / "predictions.parquet") for r in runs[m].records.values()] for m in runs
    }
    scores = {
        m: [pairs(f.score[f.label == 0].to_numpy(), f.score[f.label == 1].to_numpy()) for f in frames[m]] for m in runs
    }
    low, high = compare(scores["augru"], scores["dien"]).interval
    assert difference(runs["dien"], runs["augru"]) == f"{(low + high) / 2:+.3f} ± {(high - low) / 2:.3f} (2)"
    assert difference(runs["dien"], Runs({})) == ""


def test_a_checkpoint_that_is_not_known_is_left_blank(records: list[Record]) -> None:
    runs = Runs({0: replace(records[0], auc=AucBySelection(0.5, None, 0.6))})
    assert runs.mean("validation") is None
    assert runs.mean("last") == 0.5


def test_verdicts_are_corrected_for_their_number_and_can_be_open(tmp_path: Path) -> None:
    """Beside three equal pairs, one that is significant alone is no longer so."""
    made = {
        (model, seed): make_run(tmp_path, model, "clean", seed, distance)
        for model, distance in (
            ("din", 1.0),
            ("augru", 1.38),
            ("dien", 2.0),
            ("pnn", 1.0),
            ("aigru", 1.0),
            ("agru", 0.1),
        )
        for seed in (0, 1, 2)
    }
    runs = {model: Runs({seed: record for (name, seed), record in made.items() if name == model}) for model, _ in made}
    runs["wide-deep"] = Runs({0: made["dien", 0]})
    pairs = {name: (runs[name], runs["din"]) for name in ("dien", "agru", "augru", "pnn", "aigru", "wide-deep")}
    p_values = {name: compare(runs["din"].scores(), pairs[name][0].scores()).p for name in list(pairs)[:-1]}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    assert p_values["augru"] < 0.05 < corrected["augru"]  # the case in question
    said = dict(text.removeprefix("- ").split(": ") for text in verdicts(pairs))
    names = {word: re.findall(r"([\w-]+) \(", listed) for word, listed in said.items()}
    assert names == {
        "higher": ["dien"], "lower": ["agru"], "not significantly different": ["augru", "pnn", "aigru"],
        "not tested": ["wide-deep"],
    }  # fmt: skip
    assert verdicts({}) == ["- no run yet"]


def test_parts_of_dien_and_settings_are_those_of_the_tables() -> None:
    def test(difference: float, p: float) -> Difference:
        return Difference(Comparison(difference, 0.01, 8.0, p), p)

    tested = {
        ("sports", "clean", "official", "dien", "augru"): test(0.004, 0.6),
        ("sports", "clean", "official", "augru", "dien"): test(-0.004, 0.6),
        ("beauty", "clean", "official", "dien", "augru"): test(0.025, 0.001),
        ("beauty", "clean", "official", "dien+auxiliary_weight=0.1", "dien"): test(-0.009, 0.02),
    }
    parts = study_parts(finder([]), {}, tested)
    assert parts["parts of DIEN"][2:4] == [
        "- higher: `clean` on beauty (+0.025)",
        "- not significantly different: `clean` on sports (+0.004)",
    ]
    assert "- lower: alpha = 0.1 on beauty (-0.009)" in parts["verdicts of the settings"]
    assert (
        "- not significantly different: alpha = 0 (the row AUGRU) on sports (-0.004)"
        in parts["verdicts of the settings"]
    )
    assert said({"x": (0.1, None)}) == ["- not tested: x (+0.100)"]


def test_a_board_without_the_pages_has_no_study(records: list[Record], tmp_path: Path) -> None:
    assert write_study(records, {}, [], tmp_path) == []
    assert list(tmp_path.glob("study*")) == []


def test_the_committed_pages_are_filled_from_a_board_of_one_s_own(records: list[Record], tmp_path: Path) -> None:
    for name in PAGES:
        shutil.copyfile(BOARD / name, tmp_path / name)
    written = write_study(records, {}, [], tmp_path)
    assert [path.name for path in written] == [*PAGES, "study.svg"]
    text = "".join((tmp_path / name).read_text("utf-8") for name in PAGES)
    mean = np.mean(list(aucs(records, "dien", "arxiv-v1").values()))
    assert f"{mean:.3f} ±" in text
    outside = re.sub(r"<!-- ([^/][^<>]*) -->\n.*?<!-- /\1 -->", "", text, flags=re.DOTALL)
    assert "±: " in outside  # the text is there
    assert re.findall(r"[+-]0\.\d{3}|\d\.\d{3}", outside) == []  # and holds no figure: they stand between marks
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in PAGES:
        shutil.copyfile(BOARD / name, empty / name)
    for path in write_study([], {}, [], empty):
        assert path.stat().st_size > 500
    assert not any(re.search(r"\bnan\b|None", page.read_text("utf-8")) for page in empty.glob("*.md"))


def test_every_mark_of_the_committed_pages_is_filled() -> None:
    names = [name for page in PAGES for name in marks_of((BOARD / page).read_text("utf-8"))]
    assert len(names) == len(set(names))
    assert set(names) == set(study_parts(finder([]), {}, {}))


def test_a_page_with_a_mark_that_nothing_fills_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "study.md"
    for text, message in (
        ("a\n<!-- levels -->\nold\n<!-- /levels -->\n<!-- levls -->\n<!-- /levls -->\n", "has the mark <!-- levls -->"),
        ("<!-- levels -->\nold\n", "<!-- levels --> is not closed"),
    ):
        page.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            fill(page, {"levels": "new"})
        assert page.read_text("utf-8") == text
    page.write_text("<!-- a of x -->\n\n<!-- levels -->\nold\n<!-- /levels -->\nß", encoding="utf-8")
    fill(page, {"levels": "new\\1\n"}, other_marks=True)
    assert page.read_text("utf-8") == "<!-- a of x -->\n\n<!-- levels -->\nnew\\1\n<!-- /levels -->\nß"


def test_the_figure_joins_no_points_across_what_was_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[float]] = {}
    original = Axes.plot

    def plot(self: Axes, places: np.ndarray, values: np.ndarray, **options: Any) -> object:
        drawn[str(options["label"])] = np.asarray(values).tolist()
        return original(self, places, values, **options)

    monkeypatch.setattr(Axes, "plot", plot)
    names = ["a", "b", "c", "d"]
    dien, augru, rule = [0.9, 0.8, 0.7, 0.6], [0.9, None, 0.7, 0.6], [0.9, None, None, 0.5]
    levels = {"sports": {"dien": list(enumerate(dien)), "augru": list(enumerate(augru))}}
    study_figure.figure_ladder(levels, {"sports": list(enumerate(rule))}, names, tmp_path / "study")
    assert drawn["DIEN"] == [0.9, 0.8, 0.7, 0.6]
    assert drawn["AUGRU"] == pytest.approx([0.9, np.nan, 0.7, 0.6], nan_ok=True)  # a line ends at what is no number
    assert drawn["rule: catalogue order"] == pytest.approx([0.9, np.nan, np.nan, 0.5], nan_ok=True)


def test_the_figure_joins_no_points_of_unlike_training() -> None:
    found = [r for r in committed().values() if (r.dataset, r.variant, r.model) == ("beauty", "official", "dien")]
    alike = [replace(r, settings=r.settings | UNSAID) for r in found]
    means = [finder(alike)("beauty", protocol, "official", "dien").mean() for protocol in LADDER]
    assert None not in means
    changed = {"unknown_user": "most-frequent"}
    other = [replace(r, settings=r.settings | changed) if r.protocol == "clean" else r for r in alike]
    for records, expected in ((alike, [0, 1, 2, 3]), (other, [0, 1, 2, 2.5, 3])):
        line = study._line(finder(records), "beauty", "dien")
        assert [place for place, _ in line] == expected
        assert [auc for place, auc in line if place != 2.5] == means
        assert dict(line).get(2.5) is None
