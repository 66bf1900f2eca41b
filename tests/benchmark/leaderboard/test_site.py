"""The leaderboard's page: what is in it against records and CSV, and what a person meets in Chromium."""

import csv
import hashlib
import html
import json
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from markdown_it import MarkdownIt

from benchmark.leaderboard.build import build
from benchmark.leaderboard.page_picture import launch
from benchmark.leaderboard.site import ASSETS, VENDORED, embed, render_markdown, write_site
from benchmark.leaderboard.site_data import command, document, thinned
from benchmark.records.curves import Curve
from benchmark.records.record import line_of
from benchmark.records.results import curves_of, read_board
from datamodules.errors import UserError
from tests.benchmark.boards import BOARD, change, committed, export, make_board

SITE = BOARD / "site"
ONE = Path("tafeng", "arxiv-v1", "dien-official", "seed-0")
KEY = "tafeng/arxiv-v1/dien-official"
HOSTILE = "<img src=x onerror=document.title='hacked'>"
TEXT = f"</script><script>document.title='hacked'</script>{HOSTILE}<!--"


def data_of(page: Path) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def board_of(page: Path) -> Any:
    return data_of(page)["board"]


def test_every_record_is_in_the_page() -> None:
    pages = {name: board_of(SITE / f"{name}.html")["rows"] for name in ("index", "study-details")}
    for record in read_board(BOARD):
        row = pages["study-details" if "+" in record.model else "index"][
            f"{record.dataset}/{record.protocol}/{record.model}-{record.variant}"
        ]
        (run,) = [run for run in row["runs"] if run["seed"] == record.seed]
        assert run["last"] == pytest.approx(record.auc.last, abs=1e-8)
        assert run["test"] == pytest.approx(record.auc.test, abs=1e-8)
        assert (run["steps"], run["parameters"]) == (record.steps, record.parameters)
        assert run["train_seconds"] == record.train_seconds
        facts = {fact["name"]: [value["text"] for value in fact["values"]] for fact in row["facts"]}
        assert record.commit in facts["commit"]
        assert record.device in facts["machine"]
        assert str(record.settings["batch_size"]) in facts["batch size"]


def test_every_table_line_is_that_of_the_csv() -> None:
    blocks = board_of(SITE / "index.html")["blocks"]
    shown = {(block["page"], line["key"]): line for block in blocks for line in block["lines"]}
    expected = 0
    for path in sorted(BOARD.glob("table[24]-*.csv")):
        for cells in csv.DictReader(path.read_text().splitlines()):
            expected += 1
            line = shown[path.stem, f"{cells['dataset']}/{cells['protocol']}/{cells['model']}-{cells['variant']}"]
            names = {"mean": "auc_mean", "std": "auc_std", "low": "auc_low", "high": "auc_high"}
            for name, column in {**names, "last": "auc_last_mean", "inflation": "best_minus_last"}.items():
                expect = float(cells[column]) if cells[column] else None
                assert line[name] == pytest.approx(expect, abs=5.1e-7)  # six digits there, eight here
            base = [test["p"] for test in line["tests"] if test["other"] == "base-model"]
            assert bool(base) == bool(cells["p_base_model"])
            if base:
                assert base[0] == pytest.approx(float(cells["p_base_model"]), rel=0.01, abs=1e-8)
    assert expected == len(shown)


def test_curves_are_means_over_neighbouring_points() -> None:
    row = board_of(SITE / "index.html")["rows"]["sports/arxiv-v1/dien-official"]
    full = curves_of(committed()[Path("sports/arxiv-v1/dien-official/seed-0")]).curve("loss")
    shown = row["curves"]["loss"]
    assert len(shown["steps"]) == 102 == len(shown["seeds"][0])
    assert shown["seeds"][0][0] == pytest.approx(full.values[:4].mean(), abs=5e-5)
    assert shown["steps"][0] == full.steps[:4].mean() == 50
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


# In the browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A started Chromium: Debian's or Playwright's own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = launch(playwright)
        except UserError as error:
            pytest.skip(str(error))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """Open a page; at the end nothing was said to the console and nothing but files was asked for."""
    contexts, said, asked = [], [], []

    def opened(path: Path, width: int = 1280, hash: str = "", **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)  # a busy machine
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri() + hash)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def open_row(page: Any, key: str = KEY) -> Any:
    """Open a row by keyboard and return what is inside."""
    row = page.locator(f"tr.row[data-key='{key}']").last
    row.locator(".open").focus()
    page.keyboard.press("Enter")
    return row.locator("xpath=following-sibling::tr[1]")


def lines_of(chart: Any) -> int:
    """How many curves a chart shows; it is drawn once its width is known."""
    chart.locator("canvas").wait_for()
    return int(
        chart.locator(".plot").evaluate(
            "(plot) => plot.uplot.series.filter((one, i) => i % 3 === 1 && one.show).length"
        )
    )


def view_of(chart: Any) -> list[float]:
    """The first and the last step that a chart shows."""
    return list(chart.locator(".plot").evaluate("(plot) => [plot.uplot.scales.x.min, plot.uplot.scales.x.max]"))


def pixels_of(chart: Any, colour: str) -> int:
    """How many pixels of a chart have a colour of the style sheet as it is now."""
    chart.locator("canvas").wait_for()
    return int(
        chart.evaluate(
            """(chart, colour) => {
                const probe = chart.appendChild(document.createElement("i"));
                probe.style.color = `var(--${colour})`;
                const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
                probe.remove();
                const canvas = chart.querySelector("canvas");
                const offscreen = new OffscreenCanvas(canvas.width, canvas.height);
                const copy = offscreen.getContext("2d", { willReadFrequently: true });
                copy.drawImage(canvas, 0, 0);
                const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
                let found = 0;
                for (let i = 0; i < data.length; i += 4) {
                    found += data[i + 3] > 200 && data[i] === r && data[i + 1] === g && data[i + 2] === b;
                }
                return found;
            }""",
            colour,
        )
    )


def labels(table: Any) -> list[str]:
    return [text.strip() for text in table.locator("tbody > tr:not(.detail) > th").all_inner_texts()]


def test_all_rows_of_the_records_are_shown(visit: Any) -> None:
    page = visit(SITE / "index.html")
    keys = set(page.locator("tr.row").evaluate_all("rows => rows.map((row) => row.dataset.key)"))
    records = [record for record in read_board(BOARD) if "+" not in record.model]
    assert {f"{r.dataset}/{r.protocol}/{r.model}-{r.variant}" for r in records} <= keys
    cells = page.locator(f"tr.row[data-key='{KEY}']").last.inner_text()
    line = next(
        line for line in (BOARD / "table4-arxiv-v1-official.md").read_text().splitlines() if line.startswith("| DIEN |")
    )
    table = page.locator("tr.row[data-key='sports/arxiv-v1/dien-official']").last.inner_text()
    for figure in re.findall(r"\d\.\d{4}", line):
        assert figure in table
    assert re.search(r"0\.\d{4} ± 0\.\d{4} \(\d\)", cells)
    assert page.locator(".warning").count() == sum(bool(b["warning"]) for b in board_of(SITE / "index.html")["blocks"])


def test_tables_are_sorted_by_keyboard(visit: Any) -> None:
    page = visit(SITE / "index.html", hash="#dataset=tafeng&table=4")
    table = page.locator(".block:visible table.results")
    before = labels(table)
    button = table.locator(".sort", has_text="AUC").first
    button.focus()
    page.keyboard.press("Enter")
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("AUC")
    means = [float(text) for text in table.locator(".mean").all_inner_texts()]
    assert means == sorted(means, reverse=True)
    page.keyboard.press("Enter")
    assert [float(text) for text in table.locator(".mean").all_inner_texts()] == sorted(means)
    page.keyboard.press("Enter")
    assert labels(table) == before
    assert table.locator("th[aria-sort]").count() == 0


def test_tables_are_filtered_by_keyboard_and_link(visit: Any) -> None:
    page = visit(SITE / "index.html")
    blocks = page.locator(".block:visible")
    everything = blocks.count()
    page.locator("#filter-dataset").focus()
    page.keyboard.type("tafeng")
    assert 0 < blocks.count() < everything
    assert all("tafeng" in heading for heading in page.locator(".block:visible h3").all_inner_texts())
    assert page.url.endswith("#dataset=tafeng")
    assert page.locator("output").inner_text() == f"{blocks.count()} of {everything} tables"
    assert visit(SITE / "index.html", hash="#table=2").locator(".block:visible h3", has_text="Table 4").count() == 0


def test_a_row_opens_to_its_seeds_settings_curves_and_command(visit: Any) -> None:
    page = visit(SITE / "index.html")
    inside = open_row(page)
    records = [record for place, record in committed().items() if place.parent == ONE.parent]
    assert inside.locator("table.seeds tbody tr").count() == len(records)
    text = inside.inner_text()
    for record in records:
        assert f"{record.auc.test:.6f}" in text
        assert f"{record.train_seconds:.1f}" in text
    assert str(records[0].commit) in text
    assert records[0].device in text
    assert inside.locator("pre").inner_text().splitlines()[-1].endswith("--models dien --seeds '0 1 2 3 4'")
    losses = inside.locator(".chart").nth(0)
    assert lines_of(losses) == 3  # whole, auxiliary and target loss
    assert losses.locator(".plot").evaluate("(plot) => plot.uplot.bands.length") == 3
    assert all(pixels_of(losses, colour) > 50 for colour in ("blue", "red", "grey"))
    page.keyboard.press("Enter")
    assert inside.is_hidden()
    page.keyboard.press("Enter")
    inside.get_by_role("button", name="Copy").click()  # selects the command
    assert open_row(page, "tafeng/arxiv-v1/augru-official").is_visible()


def test_a_chart_zooms_by_drag_and_key_and_reads_values(visit: Any) -> None:
    page = visit(SITE / "index.html")
    plot = open_row(page).locator(".chart").first
    data = board_of(SITE / "index.html")["rows"][KEY]["curves"]["loss"]
    reset, whole = plot.locator(".reset"), [data["steps"][0], data["steps"][-1]]
    assert lines_of(plot) == 3
    assert view_of(plot) == whole
    plot.scroll_into_view_if_needed()
    box = plot.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 90)
    page.mouse.up()
    assert reset.is_enabled()
    span = whole[1] - whole[0]
    assert view_of(plot) == pytest.approx([whole[0] + 0.3 * span, whole[0] + 0.6 * span], abs=0.01 * span)
    plot.locator(".plot").focus()
    page.keyboard.press("Escape")
    assert reset.is_disabled()
    assert view_of(plot) == whole
    page.keyboard.press("+")
    assert view_of(plot) == pytest.approx([whole[0] + span / 4, whole[1] - span / 4])
    page.keyboard.press("0")
    assert view_of(plot) == whole
    for key, at in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert plot.locator(".readout").inner_text() == f"step {data['steps'][at]}"
        mean = np.mean([seed[at] for seed in data["seeds"]])
        assert float(plot.locator(".legend .value").first.inner_text()) == pytest.approx(mean, abs=1e-4)
        assert f"step {data['steps'][at]}: whole loss {mean:.2f}" in plot.locator("[aria-live]").inner_text()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 80)
    assert plot.locator(".readout").inner_text() == f"step {data['steps'][-1]}"


def test_a_band_goes_from_the_lowest_to_the_highest_seed(visit: Any) -> None:
    page = visit(SITE / "index.html")
    curve = "{ steps: [20, 40, 60], seeds: [[1, null, 0.5], [4, 2, 0.25], [1, 3, 0.75]] }"  # a seed whose loss was NaN
    columns = page.evaluate(f"columnsOfCurve({curve})")
    assert columns == [[20, 40, 60], [2, None, 0.5], [1, None, 0.25], [4, None, 0.75]]


def test_rows_of_a_table_are_drawn_together(visit: Any) -> None:
    page = visit(SITE / "index.html", hash="#dataset=tafeng&table=4")
    page.locator(".compare:visible summary").focus()
    page.keyboard.press("Enter")
    chart = page.locator(".compare:visible .chart")
    assert lines_of(chart) == chart.locator(".legend li").count() == 6
    dien = pixels_of(chart, "red")
    chart.locator(".legend button", has_text="DIEN").click()
    assert lines_of(chart) == 5
    assert pixels_of(chart, "red") == 0 < dien
    for quantity, rows in (("auxiliary_loss", 1), ("target_loss", 6)):
        page.locator(".compare:visible select").select_option(quantity)
        assert lines_of(chart) == rows


@pytest.mark.parametrize("name", ["index.html", "claims.html", "study.html", "study-details.html", "figure3.html"])
def test_a_narrow_page_does_not_scroll_sideways(visit: Any, name: str) -> None:
    page = visit(SITE / name, width=390)
    if name == "index.html":
        open_row(page)
        page.locator(".compare summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_colours_follow_the_system_and_the_button(visit: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    page = visit(SITE / "index.html", color_scheme="dark")
    dark, light = page.evaluate(paper), visit(SITE / "index.html", color_scheme="light").evaluate(paper)
    assert dark != light == "rgb(255, 255, 255)"
    chart = open_row(page).locator(".chart").first
    assert pixels_of(chart, "blue") > 50
    page.locator("#theme").click()
    assert page.evaluate(paper) == light
    assert pixels_of(chart, "blue") > 50  # of the other blue
    page.get_by_role("link", name="Claims").click()
    page.wait_for_url("**/claims.html*")
    assert page.evaluate(paper) == light
    assert page.locator("h1").inner_text().startswith("Claims")


def test_print_is_light_and_without_controls(visit: Any) -> None:
    page = visit(SITE / "index.html", color_scheme="dark")
    page.locator(".compare summary").first.click()
    chart = page.locator(".compare .chart").first  # as wide on paper, so that it is not drawn anew for its width
    assert pixels_of(chart, "red") > 50
    page.emulate_media(media="print")
    assert pixels_of(chart, "red") > 50  # of the other red
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".filters").is_hidden()
    assert page.locator("table.results").first.is_visible()


def test_hostile_names_are_text(visit: Any, tmp_path: Path) -> None:
    board = tmp_path / "leaderboards"
    base = {"dataset": HOSTILE, "protocol": "p<i>", "variant": "official", "device": TEXT, "commit": TEXT}
    for model in (HOSTILE, "constructor", "__proto__"):
        folder = export(ONE, tmp_path / "runs" / HOSTILE / "p<i>" / f"{model}-official" / "seed-0")
        settings = committed()[ONE].settings | {"model": TEXT, TEXT: TEXT}
        change(folder, **base, model=model, settings=settings, versions={TEXT: TEXT})
    build(make_board(tmp_path / "runs", board))
    page = visit(board / "site" / "index.html")
    for button in page.locator("tr.row .open").all():
        button.click()
    page.locator(".compare summary").first.click()
    page.locator(".compare .chart").first.wait_for()
    assert page.title() == "Leaderboard - dien-bench"
    assert page.locator("img").count() == page.locator("i").count() == 0
    assert page.locator("script").count() == 7  # six files and the data
    assert page.locator("tr.row .open", has_text=HOSTILE).count() > 0
    assert page.locator(".facts dd", has_text=TEXT).count() > 0
    assert set(labels(page.locator("table.results").first)) >= {HOSTILE, "constructor", "__proto__"}


def test_names_of_markdown_are_text_in_the_page(visit: Any, hostile_board: Path) -> None:
    page = visit(hostile_board / "site" / "index.html")
    assert set(labels(page.locator("table.results").first)) >= set(NAMES)
    for button in page.locator("tr.row .open").all():
        button.click()
    assert page.locator("b, i, img, .results em, script:not([src]):not([type])").count() == 0
    links = page.locator("main a").evaluate_all("all => all.map((one) => one.href)")
    assert {link.partition(":")[0] for link in links} == {"file"}
    for link in links:
        assert Path(unquote(link.removeprefix("file://").partition("#")[0])).is_file(), link


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A board of two seeds of a row, and of the same with an option."""
    board = tmp_path / "leaderboards"
    for seed in (0, 1):
        for model in ("base-model", "dien", "dien+auxiliary_weight=0.5"):
            source = Path("tafeng/arxiv-v1", f"{model.partition('+')[0]}-official", f"seed-{seed}")
            folder = export(source, tmp_path / "runs" / "tafeng" / "arxiv-v1" / f"{model}-official" / source.name)
            change(folder, model=model, settings=committed()[source].settings | {"model": model})
    return make_board(tmp_path / "runs", board)


def test_rows_with_options_stand_on_the_page_of_settings_alone(visit: Any, study: Path) -> None:
    for name in ("study.md", "study-details.md"):
        shutil.copyfile(BOARD / name, study / name)
    build(study)
    key = "tafeng/arxiv-v1/dien+auxiliary_weight=0.5-official"
    assert key not in board_of(study / "site" / "index.html")["rows"]
    assert "auxiliary_weight" not in "".join(path.read_text() for path in study.glob("table*"))
    (block,) = board_of(study / "site" / "study-details.html")["blocks"]
    assert [line["model"] for line in block["lines"]] == ["dien", "dien+auxiliary_weight=0.5"]
    (test,) = block["lines"][1]["tests"]
    assert (test["other"], test["difference"], test["p"]) == ("dien", 0.0, 1.0)  # the same runs under another name
    page = visit(study / "site" / "study-details.html")
    assert page.locator("h1").inner_text() == "The study, figure by figure"
    inside = open_row(page, key)
    assert "--models dien+auxiliary_weight=0.5" in inside.locator("pre").inner_text()
    assert lines_of(inside.locator(".chart").first) == 3
    page = visit(study / "site" / "index.html")
    page.get_by_role("link", name="Study").click()
    page.wait_for_url("**/study.html*")
    assert page.locator("h1").inner_text() == "Why is the paper's AUC not reached?"
    assert page.locator("img").first.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 100
    page.get_by_role("link", name="figure by figure").click()
    page.wait_for_url("**/study-details.html*")


def made_board(board: Path, rows: dict[str, str], seeds: Sequence[int] = range(5)) -> Path:
    """A board on which a row is the committed runs of another, by name, on Ta Feng."""
    for model, source in rows.items():
        for seed in seeds:
            place = Path("tafeng", "arxiv-v1", f"{model}-official", f"seed-{seed}")
            change(export(place.parents[1] / f"{source}-official" / place.name, board / "runs" / place), model=model)
    build(make_board(board / "runs", board))
    return board


@pytest.mark.parametrize(
    ("rows", "seeds", "bold", "marks"),
    [
        ({"base-model": "base-model", "dien": "dien"}, range(5), ["DIEN"], {}),
        (
            {"base-model": "base-model", "augru": "dien", "dien": "dien"},  # AUGRU stands in Table 4 alone
            range(5),
            [],
            {"BaseModel + GRU + AUGRU": "≈", "DIEN": "≈"},
        ),
        ({"base-model": "base-model", "dien": "dien"}, [0], [], {"BaseModel": "?", "DIEN": "?"}),
    ],
)
def test_the_overview_marks_ties(
    visit: Any, tmp_path: Path, rows: dict[str, str], seeds: Sequence[int], bold: list[str], marks: dict[str, str]
) -> None:
    page = visit(made_board(tmp_path, rows, seeds) / "site" / "index.html")
    lines = page.locator("table.overview tbody tr:not(.probe)")
    assert [line.locator("th").inner_text() for line in lines.all() if line.locator("strong").count()] == bold
    found = {line.locator("th").inner_text(): line.locator(".mark").all_inner_texts() for line in lines.all()}
    assert {name: texts[0][0] for name, texts in found.items() if texts} == marks


def test_a_table_says_how_neighbours_compare(visit: Any, tmp_path: Path) -> None:
    rows = {"base-model": "base-model", "gru-attention": "base-model", "dien": "dien"}
    page = visit(made_board(tmp_path, rows) / "site" / "index.html", hash="#table=4")
    said = page.locator("table.results:visible .mark .hidden").all_text_contents()
    label = "Two layer GRU attention"
    assert [text.strip() for text in said] == ["not significantly different from BaseModel", f"different from {label}"]


def test_marks_of_a_page_do_not_show() -> None:
    made = render_markdown("a\n\n<!-- levels -->\n| b |\n| --- |\n| 1 |\n<!-- /levels -->\n\n<!-- <b>no mark</b> -->\n")
    assert "levels" not in made
    assert "<td>1</td>" in made
    assert "&lt;b&gt;no mark" in made


def test_without_options_and_text_there_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "study.html").write_text("of another time")
    write_site(tmp_path, document([], [], []))
    assert not (tmp_path / "site" / "study.html").exists()
    assert "study.html" not in (tmp_path / "site" / "index.html").read_text()
    (tmp_path / "study.md").write_text("# What it takes\n\nAs in [the claims](claims.md): ![figure](study.png)\n")
    write_site(tmp_path, document([], [], []))
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


def test_evolving_interests_are_read_by_pointer_and_key(visit: Any, tmp_path: Path) -> None:
    (tmp_path / "figure3-a.json").write_text(json.dumps(FIGURE))
    write_site(tmp_path, document([], [], []))
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
    (tmp_path / "figure3-a.json").write_text(json.dumps(figure))
    with pytest.raises(UserError, match=message):
        write_site(tmp_path, document([], [], []))


def test_the_overview_leads_to_the_tables(visit: Any) -> None:
    page = visit(SITE / "index.html")
    overview = page.locator(".overview").first
    blocks = [block for block in board_of(SITE / "index.html")["blocks"] if block["variant"] == "official"]
    places = {(block["dataset"], block["protocol"]) for block in blocks}
    assert overview.locator(".link").count() == len(places)
    shown = overview.locator("tbody tr:not(.probe) td").all_inner_texts()
    means = {(line["key"]): line["mean"] for block in blocks for line in block["lines"] if line["mean"] is not None}
    assert sorted(text[:6] for text in shown if text) == sorted(f"{mean:.4f}" for mean in means.values())
    standing = board_of(SITE / "index.html")["standing"]
    best = sorted(f"{mean:.4f}" for key, mean in means.items() if standing[key] == "best")
    assert sorted(overview.locator("strong").all_inner_texts()) == best
    for relation, mark in (("not significantly different", "≈"), ("not tested", "?")):
        count = sum(standing[key] == relation for key in means)
        assert overview.locator(".mark", has_text=mark).count() == count
        assert overview.locator(".mark", has_text=relation).count() == count
    overview.locator(".link").last.focus()
    page.keyboard.press("Enter")
    heading = page.evaluate("document.activeElement.textContent")
    assert heading.startswith("Table")
    page.locator("#filter-dataset").select_option("tafeng")
    assert page.locator(".overview .link").count() == len([place for place in places if place[0] == "tafeng"])


def test_back_and_forward_go_through_filters_tables_and_rows(visit: Any) -> None:
    page = visit(SITE / "index.html")
    whole = page.locator(".block:visible").count()
    page.locator("#filter-dataset").select_option("tafeng")
    filtered = page.locator(".block:visible").count()
    row = page.locator(f"tr.row[data-key='{KEY}']").last
    row.locator(".open").click()
    assert page.url.endswith(f"#dataset=tafeng&row=4/{KEY}")
    page.locator(".overview .link").last.click()
    assert page.evaluate("document.activeElement.textContent").startswith("Table")
    page.locator("#theme").click()  # is no entry
    for opened, shown in ((True, filtered), (False, filtered), (False, whole)):
        page.go_back()
        assert (row.locator(".open").get_attribute("aria-expanded") == "true") == opened
        assert page.locator(".block:visible").count() == shown < whole + 1
    assert page.locator("#filter-dataset").input_value() == ""
    page.go_forward()
    assert page.locator("#filter-dataset").input_value() == "tafeng"
    assert page.locator(".block:visible").count() == filtered < whole


def test_an_address_that_is_edited_is_followed(visit: Any) -> None:
    page = visit(SITE / "index.html", hash="#dataset=sports&variant=paper&theme=dark")
    shown = page.locator(".block:visible h3").all_inner_texts()
    assert shown
    assert all("sports" in heading for heading in shown)
    page.evaluate("location.hash = 'dataset=tafeng'")
    page.wait_for_function("document.querySelector('#filter-dataset').value === 'tafeng'")
    assert page.locator("#filter-variant").input_value() == ""
    assert page.evaluate("document.documentElement.dataset.theme") is None
    page.locator(".skip").focus()
    page.keyboard.press("Enter")  # to #main, which changes nothing
    assert page.locator("#filter-dataset").input_value() == "tafeng"
    assert page.locator(".block:visible").count() < page.locator(".block").count()


def test_a_link_leads_to_a_row_and_to_a_table(visit: Any) -> None:
    page = visit(SITE / "index.html", hash=f"#row=4/{KEY}")
    row = page.locator("tr.row.opened")
    assert row.count() == 1
    assert row.get_attribute("data-key") == KEY
    page.wait_for_function("Math.abs(document.querySelector('tr.row.opened').getBoundingClientRect().top - 450) < 450")
    block = page.locator(".block", has=page.locator("h3", has_text="Table 4 on tafeng"))
    link = block.locator(".anchor").get_attribute("href")
    page = visit(SITE / "index.html", hash=link)
    heading = page.locator("h3", has_text="Table 4 on tafeng")
    page.wait_for_function("document.querySelector('h3:focus') !== null")
    assert heading.evaluate("(heading) => heading === document.activeElement")
    page.wait_for_function("Math.abs(document.querySelector('h3:focus').getBoundingClientRect().top) < 900")


def test_filters_that_match_nothing_say_so_and_lead_back(visit: Any) -> None:
    page = visit(SITE / "index.html", hash="#dataset=tafeng&variant=paper")
    nothing = page.locator(".nothing")
    assert "No table matches these filters." in nothing.inner_text()
    assert page.locator(".block:visible").count() == page.locator(".overview").count() == 0
    nothing.get_by_role("button").click()
    assert nothing.is_hidden()
    assert page.locator(".block:visible").count() == page.locator(".block").count() > 0
    page.go_back()
    assert nothing.is_visible()


def test_names_of_data_sets_stay_in_a_narrow_view(visit: Any) -> None:
    page = visit(SITE / "index.html", width=390)
    overview, name = page.locator(".overview").first, page.locator(".overview .group").first
    for left in (0, 150):
        overview.locator("xpath=..").evaluate("(scroll, left) => { scroll.scrollLeft = left; }", left)
        box = name.bounding_box()
        assert 0 < box["x"] < box["x"] + box["width"] <= 390


def test_a_board_without_records_says_how_to_make_one(visit: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no record"):
        build(tmp_path)
    page = visit(tmp_path / "site" / "index.html")
    assert "No run is recorded yet" in page.locator("main").inner_text()
    assert "make reproduce-table4 DATASETS=tafeng" in page.locator("pre").inner_text()
    assert "No run is recorded yet" in visit(tmp_path / "site" / "claims.html").locator("main").inner_text()
