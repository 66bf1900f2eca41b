"""What the leaderboard's page carries, against records; its other pages; names that mean something to HTML."""

import csv
import hashlib
import html
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from markdown_it import MarkdownIt

from benchmark.leaderboard.build import build
from benchmark.leaderboard.site import ASSETS, VENDORED, embed, render_markdown, write_site
from benchmark.leaderboard.site_data import command, document, thinned
from benchmark.records.curves import Curve
from benchmark.records.record import line_of
from benchmark.records.results import curves_of, read_board
from datamodules.errors import UserError
from tests.benchmark.boards import BOARD, change, committed, export, make_board

SITE = BOARD / "site"
ONE = Path("tafeng", "arxiv-v1", "dien-official", "seed-0")
HOSTILE = "<img src=x onerror=document.title='hacked'>"
TEXT = f"</script><script>document.title='hacked'</script>{HOSTILE}<!--"


def board_of(page: Path) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])["board"]


def test_every_record_is_in_the_page() -> None:
    pages = {name: board_of(SITE / f"{name}.html")["rows"] for name in ("index", "study-details")}
    for record in read_board(BOARD):
        of_study = "+" in record.model and not record.model.endswith("+tuned")
        row = pages["study-details" if of_study else "index"][
            f"{record.dataset}/{record.protocol}/{record.variant}/{record.model}"
        ]
        (run,) = [run for run in row["runs"] if run["seed"] == record.seed]
        assert run["last"] == pytest.approx(record.auc.last, abs=1e-8)
        assert run["test"] == pytest.approx(record.auc.test, abs=1e-8)
        assert (run["steps"], run["parameters"]) == (record.steps, record.parameters)
        facts = {fact["name"]: [value["text"] for value in fact["values"]] for fact in row["facts"]}
        assert record.commit in facts["commit"]
        assert record.device in facts["machine"]


def test_page_json_and_csv_hold_the_same_rankings_as_the_tables() -> None:
    shown = board_of(SITE / "index.html")
    assert json.loads((SITE / "leaderboard.json").read_text("utf-8")) == shown
    lines = list(csv.DictReader((SITE / "leaderboard.csv").read_text("utf-8").splitlines()))
    assert len(lines) == sum(len(ranking["lines"]) for ranking in shown["rankings"])
    names = ("dataset", "protocol", "variant", "model")
    reported = {
        tuple(line[name] for name in names): line
        for line in lines
        if line["metric"] == "auc" and line["reported"] == "True"
    }
    tables = [
        cells for path in BOARD.glob("table[234]-*.csv") for cells in csv.DictReader(path.read_text().splitlines())
    ]
    tables = [cells for cells in tables if cells["seeds"] != "0"]
    for cells in tables:
        line = reported[tuple(cells[name] for name in names)]
        for column, name in {"auc_mean": "mean", "auc_std": "std", "auc_low": "low", "auc_high": "high"}.items():
            assert (float(line[name]) if line[name] else None) == pytest.approx(
                float(cells[column]) if cells[column] else None, abs=5.1e-7
            )
        assert fmean(map(float, line["values"].split())) == pytest.approx(float(line["mean"]), abs=1e-7)
        assert len(line["values"].split()) == len(line["seeds"].split()) == int(cells["seeds"])
    assert set(reported) == {tuple(cells[name] for name in names) for cells in tables}


def test_curves_are_means_over_neighbouring_points() -> None:
    records = [record for record in committed().values() if (record.dataset, record.model) == ("tafeng", "dien")]
    shown = document(records, [])["rows"]["tafeng/arxiv-v1/official/dien"]["curves"]["loss"]
    full = curves_of(records[0]).curve("loss")
    together = -(-len(full.steps) // 120)
    assert shown["seeds"][0][0] == pytest.approx(full.values[:together].mean(), abs=5e-5)
    assert shown["steps"][0] == round(full.steps[:together].mean())
    short = Curve(np.arange(7.0), np.arange(7.0))
    assert thinned(short, 7).values.tolist() == short.values.tolist()
    assert thinned(short, 3).values.tolist() == [1.0, 4.0, 6.0]


def test_json_in_the_page_begins_no_tag() -> None:
    text = embed({TEXT: [TEXT, "&lt;", "\u2028"]})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {TEXT: [TEXT, "&lt;", "\u2028"]}


def test_a_command_quotes_what_a_shell_would_run() -> None:
    text = command("$(rm -rf ~)", "clean", "paper", "a'; `b`\nc", [], [1, 0])
    words = shlex.split(text)
    assert words[words.index("--datasets") + 1] == "$(rm -rf ~)"
    assert words[words.index("--models") + 1] == "a'; `b`\nc"
    assert words[words.index("--seeds") + 1] == "0 1"


def test_a_command_says_what_is_not_the_default() -> None:
    record = replace(committed()[ONE], settings=dict(committed()[ONE].settings))
    default = command("tafeng", "arxiv-v1", "official", "dien", [record], [0])
    assert default.startswith(f"git checkout {record.commit} && make setup\n")
    assert "--steps" not in default
    assert "--batch-size" not in default
    record.settings.update(steps_by_default=False, batch_size=64, learning_rate=0.1, model="my/file.py:Mine")
    words = shlex.split(command("tafeng", "arxiv-v1", "official", "mine", [record], [0]), comments=True)
    assert words[-8:] == ["--models", "my/file.py:Mine", "--seeds", "0", "--steps", "807", "--batch-size", "64"]


@pytest.mark.parametrize("commits", [("0a1b-dirty",), ("0a1b", "0a1b-dirty")])
def test_a_command_does_not_check_out_what_was_not_committed(commits: tuple[str, ...]) -> None:
    records = [committed()[ONE.with_name(f"seed-{seed}")] for seed in (0, 1)]
    records = [replace(record, commit=commit) for record, commit in zip(records, commits, strict=False)]
    lines = command("tafeng", "arxiv-v1", "official", "dien", records, [0, 1]).splitlines()
    assert lines[0].startswith(".venv/bin/dien-bench run ")
    assert lines[1:] == ["# trained by code that was not committed, changed from commit 0a1b"]


def test_the_chart_library_is_the_published_one() -> None:
    """uPlot 1.6.32 of npm, as assets/vendor/README.md says."""
    sha256 = {name: hashlib.sha256((ASSETS / "vendor" / name).read_bytes()).hexdigest() for name in VENDORED}
    assert sha256 == {
        "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
        "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
        "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    }
    assert "uPlot (v1.6.32)" in (ASSETS / "vendor" / "uPlot.iife.min.js").read_text("utf-8")
    assert "1.6.32" in (ASSETS / "vendor" / "README.md").read_text("utf-8")


def test_markdown_pages_keep_no_markup_but_breaks() -> None:
    made = render_markdown(f"a<br>b {TEXT}\n\n{TEXT}\n\n[c](results/x) [d](README.md) [e](javascript:alert)\n")
    assert "a<br>b" in made
    assert set(re.findall(r"<(\w+)", made)) == {"p", "br", "a"}
    assert 'href="../results/x"' in made
    assert 'href="index.html"' in made
    assert 'href="javascript' not in made


NAMES = (
    "a|b",
    "`c`",
    "**d**",
    "[e](javascript:alert(1))",
    "<script>alert(1)<script>",
    "$f$",
    "&lt;",
    "x ](y)",
    "constructor",
)


@pytest.fixture(scope="module")
def hostile_board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of one table whose data set, protocol and rows have names that Markdown and HTML give a meaning."""
    board = tmp_path_factory.mktemp("hostile") / "leaderboards"
    dataset, protocol = "d|`<b>`](x", "p<i>|[q](javascript:alert(1))"
    for model in NAMES:
        target = export(ONE, board / "runs" / dataset / protocol / f"{model}-official" / "seed-0")
        change(target, dataset=dataset, protocol=protocol, model=model, device=TEXT)
    build(make_board(board / "runs", board))
    return board


def test_hostile_names_are_text_in_markdown_and_csv(hostile_board: Path) -> None:
    board = hostile_board
    (path,) = board.glob("table4-*.md")
    for text in (path.read_text(), (board / "README.md").read_text()):
        made = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
        allowed = "h1,h2,h3,h4,p,ul,li,code,a,img,strong,em,table,thead,tbody,tr,th,td"
        assert set(re.findall(r"<(\w+)", made)) <= set(allowed.split(","))
        cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(?:<strong>)?(.*?)(?:</strong>)?</td>", made)]
        assert set(NAMES) <= set(cells)
        widths = {len(re.findall("<t[dh]", row)) for row in re.findall(r"<tr>.*?</tr>", made, re.DOTALL)}
        assert widths == {len(cells) // made.count("<tr>\n<td")}  # no name makes a column
        targets = [html.unescape(target) for target in re.findall(r'(?:href|src)="([^"]*)"', made)]
        assert not [target for target in targets if ":" in target]
        for target in targets:
            if not target.startswith(("site/", "claims", "#")):
                assert (board / unquote(target)).is_file(), target
    (lines,) = board.glob("table4-*.csv")
    rows = list(csv.DictReader(lines.read_text().splitlines()))
    assert {row["model"] for row in rows} >= set(NAMES)
    assert not [cell for row in rows for cell in row.values() if re.match(r"[=+@\t\r]|-\D", cell)]


@pytest.mark.parametrize("name", ["a\nb", "\u202egnp", "=cmd|' /C calc'!A0", "@x", "\x1b[2J"])
def test_a_name_that_would_change_what_stands_beside_it_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "results" / "tafeng" / "arxiv-v1" / "runs.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(json.loads(line_of(committed()[ONE])) | {"model": name}) + "\n")
    with pytest.raises(UserError, match=r"the field 'model' is .*expected a name without"):
        build(tmp_path)
    assert not (tmp_path / "site").exists()


def test_hostile_names_are_text(visit: Any, tmp_path: Path) -> None:
    board = tmp_path / "leaderboards"
    base = {"dataset": HOSTILE, "protocol": "p<i>", "variant": "official", "device": TEXT, "commit": TEXT}
    for model in (HOSTILE, "constructor", "__proto__"):
        folder = export(ONE, tmp_path / "runs" / HOSTILE / "p<i>" / f"{model}-official" / "seed-0")
        settings = committed()[ONE].settings | {"model": TEXT, TEXT: TEXT}
        change(folder, **base, model=model, settings=settings, versions={TEXT: TEXT})
    build(make_board(tmp_path / "runs", board))
    page = visit(board / "site" / "index.html", hash="#q=constructor&compare=constructor&compare=__proto__&open=all")
    for button in page.locator("tr.row .open").all():
        button.click()
    page.locator(".compare .chart canvas").first.wait_for()
    assert page.title() == "Leaderboard - dien-bench"
    assert page.locator("img").count() == page.locator("i").count() == 0
    assert page.locator(".facts dd", has_text=TEXT).count() > 0
    assert set(page.locator("tr.row .open").all_inner_texts()) == {HOSTILE, "constructor", "__proto__"}
    assert page.locator(".compare h3").inner_text().count("__proto__") == 1
    link = page.locator(".results a")
    assert link.inner_text() == "constructor"
    link.click()
    page.locator(".results").wait_for(state="detached")
    assert page.locator("#choose-dataset").input_value() == HOSTILE


def test_names_of_markdown_are_text_in_the_page(visit: Any, hostile_board: Path) -> None:
    page = visit(hostile_board / "site" / "index.html")
    assert set(page.locator("tr.row .open").all_inner_texts()) == set(NAMES)
    for button in page.locator("tr.row .open").all():
        button.click()
    assert page.locator("b, i, img, .ranking em, script:not([src]):not([type])").count() == 0
    links = page.locator("main a").evaluate_all("all => all.map((one) => one.href)")
    assert {link.partition(":")[0] for link in links} == {"file"}
    for link in links:
        assert Path(unquote(link.removeprefix("file://").partition("#")[0])).is_file(), link


def test_rows_with_options_stand_on_the_page_of_settings_alone(tmp_path: Path) -> None:
    for seed in (0, 1):
        for model in ("base-model", "dien", "dien+auxiliary_weight=0.5"):
            source = Path("tafeng/arxiv-v1", f"{model.partition('+')[0]}-official", f"seed-{seed}")
            folder = export(source, tmp_path / "runs" / "tafeng" / "arxiv-v1" / f"{model}-official" / source.name)
            change(folder, model=model, settings=committed()[source].settings | {"model": model})
    board = make_board(tmp_path / "runs", tmp_path / "leaderboards")
    build(board)
    assert not [key for key in board_of(board / "site" / "index.html")["rows"] if "+" in key]
    assert "auxiliary_weight" not in "".join(path.read_text() for path in board.glob("table*"))
    settings = board_of(board / "site" / "study-details.html")
    assert len(settings["rankings"]) == 5  # three metrics of the reported checkpoint, two of the last
    for ranking in settings["rankings"]:
        assert {line["model"] for line in ranking["lines"]} == {"dien", "dien+auxiliary_weight=0.5"}
    (pair,) = settings["rankings"][0]["pairs"]
    assert (pair["difference"], pair["p"]) == (0.0, 1.0)  # the same runs under another name


def test_marks_of_a_page_do_not_show() -> None:
    made = render_markdown("a\n\n<!-- levels -->\n| b |\n| --- |\n| 1 |\n<!-- /levels -->\n\n<!-- <b>no mark</b> -->\n")
    assert "levels" not in made
    assert "<td>1</td>" in made
    assert "&lt;b&gt;no mark" in made


def test_without_options_and_text_there_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "study.html").write_text("of another time")
    write_site(tmp_path, document([], []))
    assert not (tmp_path / "site" / "study.html").exists()
    assert "study.html" not in (tmp_path / "site" / "index.html").read_text()
    (tmp_path / "study.md").write_text("# What it takes\n\nAs in [the claims](claims.md): ![figure](study.png)\n")
    write_site(tmp_path, document([], []))
    text = (tmp_path / "site" / "study.html").read_text()
    assert '<a href="claims.html">the claims</a>' in text
    assert '<img src="../study.png"' in text
    assert "study.html" in (tmp_path / "site" / "index.html").read_text()


FIGURE = {
    **{"title": HOSTILE, "user": None},
    **{"history": ["Headphones", TEXT, "Cases"], "variance": [0.7, 0.2], "caption": [TEXT], "command": "a 'b'"},
    "targets": [
        {"name": "Cases", "points": [[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]], "attention": [0.1, 0.2, 0.7]},
        {"name": "none", "points": [[0.0, 0.1], [1.0, 2.1], [2.0, 2.0]], "attention": [0.333, 0.333, 0.333]},
    ],
}


def gallery(board: Path) -> Path:
    (board / "gallery").mkdir()
    return board / "gallery"


def test_evolving_interests_are_read_by_pointer_and_key(visit: Any, tmp_path: Path) -> None:
    (gallery(tmp_path) / "figure3-a.json").write_text(json.dumps(FIGURE))
    write_site(tmp_path, document([], []))
    page = visit(tmp_path / "site" / "figure3.html")
    plot, readout = page.locator(".paths"), page.locator(".step")
    plot.locator(".curve").first.wait_for()
    assert plot.locator(".curve").count() == 2
    assert page.locator(".attention td").all_inner_texts() == [".100", ".200", ".700", ".333", ".333", ".333"]
    plot.focus()
    page.keyboard.press("ArrowLeft")
    assert readout.inner_text() == "Behaviour 3 of 3, Cases. Attention: Cases 0.700, none 0.333."
    assert page.locator(".attention td.read").all_inner_texts() == [".700", ".333"]
    assert plot.locator("circle.read").count() == 2
    page.keyboard.press("Home")
    assert readout.inner_text().startswith("Behaviour 1 of 3, Headphones.")
    page.keyboard.press("Escape")
    assert page.locator(".read").count() == 0
    page.locator(".attention td").nth(2).hover()
    assert readout.inner_text().startswith("Behaviour 3 of 3")
    plot.scroll_into_view_if_needed()
    circle = plot.locator("circle").nth(1).bounding_box()
    page.mouse.move(circle["x"] + 2, circle["y"] + 2)
    assert readout.inner_text().startswith("Behaviour 2 of 3")
    page.locator(".legend button").first.click()
    assert plot.locator(".curve").count() == 1
    assert page.title() == "Evolving interests - dien-bench"
    assert page.locator("img").count() == 0
    assert visit(tmp_path / "site" / "figure3.html", width=390).evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize(("change", "message"), [({"user": 3}, "history of user 3"), ({"targets": ...}, "no figure 3")])
def test_a_figure_that_shows_a_user_does_not_get_on_the_board(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    figure = {name: value for name, value in (FIGURE | change).items() if value is not ...}
    (gallery(tmp_path) / "figure3-a.json").write_text(json.dumps(figure))
    with pytest.raises(UserError, match=message):
        write_site(tmp_path, document([], []))
