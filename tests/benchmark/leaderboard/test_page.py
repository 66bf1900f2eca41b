"""The leaderboard's page in Chromium, on a board of four committed places: what a person sees, chooses and compares."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from benchmark.analysis.comparison import compare, holm
from benchmark.analysis.probes import read_probes
from benchmark.leaderboard.site import write_site
from benchmark.leaderboard.site_data import document
from benchmark.records import paper
from benchmark.records.predictions import Scores
from benchmark.records.record import Record
from benchmark.records.results import read_board, scores_of
from tests.benchmark.boards import BOARD

PLACES = [("sports", "clean"), ("beauty", "clean"), ("beauty", "random-ties"), ("tafeng", "arxiv-v1")]
WIDE_AND_NARROW = pytest.mark.parametrize("width", [1280, 390])


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [
        record
        for record in read_board(BOARD)
        if (record.dataset, record.protocol) in PLACES and "+" not in record.model and record.variant == "official"
    ]


@pytest.fixture(scope="module")
def board(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of those places. DIEN has one seed on Beauty, clean; there nothing is tested against it."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "claims.md").write_text("# Claims\n")
    mine = [r for r in records if (r.dataset, r.protocol, r.model) != ("beauty", "clean", "dien") or r.seed == 0]
    other = [r for r in mine if (r.dataset, r.protocol, r.model) == ("beauty", "clean", "din")]
    for record in other:
        changed = {"pairs_together": not record.settings.get("pairs_together", False)}
        mine[mine.index(record)] = replace(record, settings=record.settings | changed)
    probes = [found for place in PLACES if (found := read_probes([BOARD / "probes"], *place))]
    return write_site(folder, document([*mine, *paper_rows(records)], probes))[0].parent


def paper_rows(records: Sequence[Record]) -> list[Record]:
    """Ta Feng again as the variant `paper`, without predictions: rows that cannot be tested."""
    mine = [record for record in records if record.dataset == "tafeng"]
    return [replace(record, variant="paper", path=Path("none/record.json")) for record in mine]


def means(records: Sequence[Record], dataset: str, protocol: str, selection: str) -> dict[str, float]:
    mine = [record for record in records if (record.dataset, record.protocol) == (dataset, protocol)]
    models = dict.fromkeys(record.model for record in mine)
    return {m: fmean(getattr(r.auc, selection) for r in mine if r.model == m) for m in models}


def go(step: Callable[[], Any]) -> None:
    """Go back or forward, and wait until the page has heard of it."""
    step()
    step.__self__.evaluate("new Promise((done) => setTimeout(done))")  # type: ignore[attr-defined]


def reported(records: Sequence[Record], dataset: str, model: str) -> list[Scores]:
    """The scores of a row on Sports or Ta Feng, a seed each."""
    mine = [record for record in records if (record.dataset, record.model) == (dataset, model)]
    return [found.reported for record in mine if (found := scores_of(record))]


def rows(page: Any) -> list[str]:
    found: list[str] = page.locator("tr.row").evaluate_all("rows => rows.map((row) => row.dataset.model)")
    return found


def shown_means(page: Any) -> list[float]:
    return [float(text) for text in page.locator("tr.row .mean:not(circle)").all_inner_texts()]


def row(page: Any, model: str) -> Any:
    return page.locator(f"tr.row[data-model='{model}']")


def state(page: Any) -> dict[str, list[str]]:
    return parse_qs(page.url.partition("#")[2])


def lines_of(chart: Any) -> int:
    """How many curves a chart shows; it is drawn once its width is known."""
    chart.locator("canvas").wait_for()
    count = "(plot) => plot.uplot.series.filter((one, i) => i % 3 === 1 && one.show).length"
    return int(chart.locator(".plot").evaluate(count))


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


def test_a_ranking_has_all_rows_best_first_with_intervals_and_seeds(
    visit: Any, board: Path, records: list[Record]
) -> None:
    page = visit(board / "index.html")  # the first place whose protocol selects on validation users
    expected = means(records, "sports", "clean", "validation")
    assert rows(page) == sorted(expected, key=lambda model: -expected[model])
    assert shown_means(page) == pytest.approx(sorted(expected.values(), reverse=True), abs=5.1e-5)
    dien = row(page, "dien")
    assert dien.locator("circle.seed").count() == 5
    low, high = (float(end) for end in dien.locator("td.number.wide").first.inner_text().split(" to "))
    assert low < expected["dien"] < high
    place = "(one) => one.getBoundingClientRect()"
    line, mean = (dien.locator(name).evaluate(place) for name in ("line.range", "circle.mean"))
    at = (mean["x"] + mean["width"] / 2 - line["x"]) / line["width"]
    assert at == pytest.approx((expected["dien"] - low) / (high - low), abs=0.02)


def test_ties_share_a_rank_and_stand_in_one_group(visit: Any, board: Path, records: list[Record]) -> None:
    page = visit(board / "index.html", hash="#dataset=tafeng&protocol=arxiv-v1")
    scores = {model: reported(records, "tafeng", model) for model in rows(page)}
    pairs = list(combinations(scores, 2))
    corrected = holm([compare(scores[a], scores[b]).p for a, b in pairs])
    different = {pair for pair, p in zip(pairs, corrected, strict=True) if p < 0.05}
    expected: list[list[str]] = []
    for model in scores:
        if expected and (expected[-1][0], model) not in different:
            expected[-1].append(model)
        else:
            expected.append([model])
    assert 1 < len(expected) < len(scores)
    groups = page.locator("table.ranking tbody:has(tr.row)")
    found = [
        group.locator("tr.row").evaluate_all("rows => rows.map((row) => row.dataset.model)") for group in groups.all()
    ]
    assert found == expected
    first = [1 + sum(map(len, expected[:i])) for i in range(len(expected))]
    ranks = [text.split("=")[0].split()[0] for text in page.locator("td.rank").all_inner_texts()]
    assert ranks == [str(rank) for rank, group in zip(first, expected, strict=True) for _ in group]
    *others, last = map(paper.label_of, expected[0][1:])
    ties = f"{', '.join(others)} and {last}" if others else last
    assert f"Not significantly different from it: {ties}." in page.locator(".answer").inner_text()
    page.locator("#fold-notes summary").click()
    assert "Holm" in page.locator("#fold-notes li").first.inner_text()  # the rule


def test_rows_without_a_test_have_no_rank(visit: Any, board: Path) -> None:
    page = visit(board / "index.html", hash="#dataset=beauty&protocol=clean")
    assert row(page, "dien").locator("td.rank").inner_text().startswith("–")
    assert row(page, "din").locator("td.rank").inner_text().startswith("–")  # it was trained otherwise
    ranks = page.locator("td.rank").all_inner_texts()
    assert [text[0] for text in ranks].count("–") == 2
    assert min(text for text in ranks if text[0] != "–").startswith("1")
    answer = page.locator(".answer").inner_text()
    assert "DIEN has the best mean" in answer
    assert answer.endswith("It was not tested against the others.")
    assert row(page, "din").locator(".differs").inner_text() == "‡ other pairs_together"
    assert page.locator(".differs").count() == 1
    page = visit(board / "index.html", hash="#dataset=tafeng&variant=paper&compare=augru&compare=dien")
    assert {text[0] for text in page.locator("td.rank").all_inner_texts()} == {"–"}
    assert page.locator(".answer").inner_text().endswith("Rows are not tested against each other here.")
    assert "Not tested" in page.locator(".compare").inner_text()


def test_metric_and_checkpoint_are_chosen_by_keyboard(visit: Any, board: Path, records: list[Record]) -> None:
    page = visit(board / "index.html", hash="#dataset=sports")
    page.locator("#choose-selection").focus()
    page.keyboard.type("last")
    assert shown_means(page) == pytest.approx(
        sorted(means(records, "sports", "clean", "last").values())[::-1], abs=1e-4
    )
    assert state(page)["selection"] == ["last"]
    page.locator("#choose-metric").select_option("gauc")
    gauc = []  # one negative and one positive a user, both in the order of users
    for record in records:
        if (record.dataset, record.model) == ("sports", "dien") and (found := scores_of(record)):
            negative, positive = found.last.negative, found.last.positive
            gauc.append(np.mean((positive > negative) + (positive == negative) / 2))
    assert f"{fmean(gauc):.4f}" in row(page, "dien").inner_text()
    assert row(page, "dien").locator("td.rank").inner_text().startswith("1")
    low, high = (float(end) for end in row(page, "dien").locator("td.number.wide").first.inner_text().split(" to "))
    assert low < fmean(gauc) < high
    page.locator("#choose-metric").select_option("logloss")  # kept of the reported checkpoint alone
    assert page.locator("#choose-selection").input_value() == "validation"
    losses = shown_means(page)
    assert losses == sorted(losses)
    assert "Lower is better" in page.locator("main").inner_text()


def test_a_data_set_is_chosen_with_what_it_has(visit: Any, board: Path) -> None:
    page = visit(board / "index.html", hash="#dataset=sports&selection=validation")
    page.locator("#choose-dataset").select_option("tafeng")  # under another protocol, without validation users
    assert page.locator("h2#ranking").inner_text() == "AUC on tafeng, protocol arxiv-v1, variant official"
    assert page.locator("#choose-selection").input_value() == "test"
    assert page.locator("#choose-protocol option").all_inner_texts() == ["arxiv-v1"]
    page.locator("#choose-variant").select_option("paper")
    assert "variant paper" in page.locator("h2#ranking").inner_text()


@WIDE_AND_NARROW
def test_two_ticked_rows_are_compared(visit: Any, board: Path, records: list[Record], width: int) -> None:
    page = visit(board / "index.html", width=width)
    box = page.locator("#compare")
    assert box.inner_text() == "Tick two rows to compare them."
    for model in ("base-model", "dien"):
        row(page, model).locator("input").focus()
        page.keyboard.press("Space")
    scores = {model: reported(records, "sports", model) for model in sorted(rows(page))}
    tests = {pair: compare(scores[pair[0]], scores[pair[1]]) for pair in combinations(scores, 2)}
    test = tests["base-model", "dien"]
    p = dict(zip(tests, holm([one.p for one in tests.values()]), strict=True))["base-model", "dien"]
    text = box.inner_text()
    assert f"DIEN − BaseModel +{test.difference:.4f} AUC" in text
    assert f"95 % interval +{test.interval.low:.4f} to +{test.interval.high:.4f}" in text
    said = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    assert f"{said} after Holm's correction for the {len(tests)} pairs" in text
    assert "Significantly different." in text
    assert [lines_of(chart) for chart in box.locator(".chart").all()] == [2, 2]
    assert all(pixels_of(box.locator(".chart").first, colour) > 0 for colour in ("red", "grey"))
    assert state(page)["compare"] == ["base-model", "dien"]
    row(page, "din").locator("input").check()  # in place of the first
    assert box.locator("h3").inner_text() == "DIEN and DIN"
    assert "Not significantly different." in box.inner_text()
    go(page.go_back)
    assert box.locator("h3").inner_text() == "DIEN and BaseModel"
    box.get_by_role("button", name="Untick both").click()
    assert page.locator(".ranking input:checked").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_an_address_keeps_all_of_a_state(visit: Any, board: Path) -> None:
    hash = "#dataset=beauty&protocol=random-ties&selection=last&sort=parameters&compare=din&compare=base-model&row=din"
    hash += "&open=scatter&x=training_seconds&open=curves&curve=loss&q=pnn&theme=dark"
    page = visit(board / "index.html", hash=hash)
    assert page.locator("h2#ranking").inner_text() == "AUC on beauty, protocol random-ties, variant official"
    assert page.locator("#choose-selection").input_value() == "last"
    assert page.locator("th[aria-sort=ascending]").inner_text() == "parameters"
    assert page.locator(".compare h3").inner_text() == "DIN and BaseModel"
    assert page.locator("tr.row.opened").get_attribute("data-model") == "din"
    assert page.locator("#cost").input_value() == "training_seconds"
    assert page.locator("#curve").input_value() == "loss"
    assert page.locator("#search").input_value() == "pnn"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.evaluate("location.hash = 'dataset=tafeng'")
    page.wait_for_function("document.querySelector('#choose-dataset').value === 'tafeng'")
    assert page.locator("tr.row.opened, .compare, details[open]").count() == 0
    assert page.locator("#search").input_value() == ""
    page.locator(".skip").focus()
    page.keyboard.press("Enter")  # to #main, which changes nothing
    assert page.locator("#choose-dataset").input_value() == "tafeng"


def test_back_and_forward_go_through_choices_rows_and_folds(visit: Any, board: Path) -> None:
    page = visit(board / "index.html")
    page.locator("#choose-dataset").select_option("tafeng")
    row(page, "dien").locator(".open").click()
    page.locator("#fold-scatter summary").click()
    page.locator(".point").first.wait_for()
    page.locator("#theme").click()  # is no entry
    go(page.go_back)
    assert page.locator("#fold-scatter[open]").count() == 0
    assert page.locator("tr.row.opened").count() == 1
    go(page.go_back)
    assert page.locator("tr.row.opened").count() == 0
    go(page.go_back)
    assert page.locator("#choose-dataset").input_value() == "sports"
    for _ in range(3):
        go(page.go_forward)
    assert page.locator("#fold-scatter[open]").count() == page.locator("tr.row.opened").count() == 1
    assert page.locator("#choose-dataset").input_value() == "tafeng"


def test_a_search_finds_rows_of_all_rankings(visit: Any, board: Path, records: list[Record]) -> None:
    page = visit(board / "index.html")
    page.locator("#search").focus()
    page.keyboard.type("Two gru BEAUTY")
    link = page.locator(".results a")
    assert link.all_inner_texts() == ["Two layer GRU attention"]
    mean = means(records, "beauty", "clean", "validation")["gru-attention"]
    assert f"on beauty, clean, official: {mean:.4f}, rank 1" in page.locator(".results").inner_text()
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#choose-dataset').value === 'beauty'")
    assert page.locator("tr.row.opened").get_attribute("data-model") == "gru-attention"
    assert page.locator(".results").count() == 0
    page.locator("#search").fill("xyz")
    assert "Nothing matches “xyz”." in page.locator(".nothing").inner_text()
    assert state(page)["q"] == ["xyz"]
    page.locator(".nothing button").click()
    assert page.locator(".nothing").count() == 0
    assert page.locator("#search").input_value() == ""
    assert page.evaluate("document.activeElement.id") == "search"


def test_an_address_that_matches_nothing_says_so_and_leads_back(visit: Any, board: Path) -> None:
    page = visit(board / "index.html", hash="#dataset=tafeng&protocol=clean")
    nothing = page.locator(".nothing")
    assert "Nothing matches tafeng, clean." in nothing.inner_text()
    assert page.locator("table.ranking:visible").count() == 0
    nothing.get_by_role("button").click()
    assert nothing.count() == 0
    assert rows(page)
    go(page.go_back)
    assert nothing.is_visible()
    page.locator("#choose-dataset").select_option("tafeng")  # so does any choice
    assert "tafeng" in page.locator("h2#ranking").inner_text()


@WIDE_AND_NARROW
def test_the_scatter_plot_has_a_point_a_row(visit: Any, board: Path, records: list[Record], width: int) -> None:
    page = visit(board / "index.html", width=width, hash="#dataset=tafeng&open=scatter")
    page.locator(".point").first.wait_for()
    mine = [record for record in records if record.dataset == "tafeng"]
    assert page.locator(".point").count() == len({record.model for record in mine})
    tops = page.locator(".point text").evaluate_all("all => all.map((one) => one.getBoundingClientRect().y)")
    assert min(np.diff(sorted(tops))) > 12  # labels do not cover each other
    (parameters,) = {record.parameters for record in mine if record.model == "dien"}
    page.locator(".point[aria-label^='DIEN:']").focus()
    mean = means(records, "tafeng", "arxiv-v1", "test")["dien"]
    assert page.locator(".readout").first.inner_text().startswith(f"DIEN: AUC {mean:.4f}")
    assert page.locator(".readout").first.inner_text().endswith(f"; {parameters:,} parameters")
    places = "all => all.map((one) => one.cx.baseVal.value)"
    before = page.locator(".point circle").evaluate_all(places)
    page.locator("#cost").select_option("training_seconds")
    page.locator(".point").first.wait_for()
    assert page.locator(".point circle").evaluate_all(places) != before
    seconds = min(r.train_seconds - r.evaluation_seconds for r in mine if r.model == "dien")
    label = page.locator(".point[aria-label^='DIEN:']").get_attribute("aria-label")
    assert float(label.split("; ")[1].split()[0]) == pytest.approx(seconds, abs=0.51)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_rows_are_sorted_by_what_they_cost(visit: Any, board: Path, records: list[Record]) -> None:
    page = visit(board / "index.html")
    before = rows(page)
    page.locator("#sort-seconds").focus()
    page.keyboard.press("Enter")
    cells = page.locator("tr.row td:last-child").all_inner_texts()
    assert [int(cell) for cell in cells] == sorted(int(cell) for cell in cells)
    assert page.evaluate("document.activeElement.id") == "sort-seconds"
    page.locator("#sort-rank").click()
    assert rows(page) == before


def test_a_row_opens_to_its_seeds_settings_curves_and_command(visit: Any, board: Path, records: list[Record]) -> None:
    page = visit(board / "index.html", hash="#dataset=tafeng")
    row(page, "dien").locator(".open").focus()
    page.keyboard.press("Enter")
    inside = page.locator("tr.detail:visible")
    mine = [record for record in records if (record.dataset, record.model) == ("tafeng", "dien")]
    assert inside.locator("table.seeds tbody tr").count() == len(mine)
    text = inside.inner_text()
    for record in mine:
        assert f"{record.auc.test:.6f}" in text
        assert f"{record.train_seconds:.1f}" in text
    assert str(mine[0].commit) in text
    assert inside.locator("pre").inner_text().splitlines()[-1].endswith("--models dien --seeds '0 1 2 3 4'")
    losses = inside.locator(".chart").nth(0)
    assert lines_of(losses) == 3  # whole, auxiliary and target loss
    assert losses.locator(".plot").evaluate("(plot) => plot.uplot.bands.length") == 3
    inside.get_by_role("button", name="Copy").click()  # selects the command, and does not close the row
    assert inside.is_visible()
    page.locator("tr.row.opened .open").focus()
    page.keyboard.press("Enter")
    assert page.locator("tr.detail:visible").count() == 0


def test_a_chart_zooms_by_drag_and_key_and_reads_values(visit: Any, board: Path) -> None:
    page = visit(board / "index.html", hash="#dataset=tafeng&row=dien")
    plot = page.locator("tr.detail .chart").first
    curves = page.evaluate("board.rows['tafeng/arxiv-v1/official/dien'].curves.loss")
    reset, whole = plot.locator(".reset"), [curves["steps"][0], curves["steps"][-1]]
    view = "(plot) => [plot.uplot.scales.x.min, plot.uplot.scales.x.max]"
    assert lines_of(plot) == 3
    plot.scroll_into_view_if_needed()
    box = plot.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 90)
    page.mouse.up()
    size = whole[1] - whole[0]
    expected = pytest.approx([whole[0] + 0.3 * size, whole[0] + 0.6 * size], abs=0.01 * size)
    assert plot.locator(".plot").evaluate(view) == expected
    plot.locator(".plot").focus()
    page.keyboard.press("Escape")
    assert reset.is_disabled()
    assert plot.locator(".plot").evaluate(view) == whole
    page.keyboard.press("+")
    assert plot.locator(".plot").evaluate(view) == pytest.approx([whole[0] + size / 4, whole[1] - size / 4])
    page.keyboard.press("0")
    for key, at in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert plot.locator(".readout").inner_text() == f"step {curves['steps'][at]}"
        mean = np.mean([seed[at] for seed in curves["seeds"]])
        assert float(plot.locator(".legend .value").first.inner_text()) == pytest.approx(mean, abs=1e-4)
    # A seed whose loss was NaN leaves no band.
    columns = page.evaluate("columnsOfCurve({ steps: [20, 40], seeds: [[1, null], [4, 2], [1, 3]] })")
    assert columns == [[20, 40], [2, None], [1, None], [4, None]]


def test_curves_of_all_rows_stand_in_one_chart(visit: Any, board: Path, records: list[Record]) -> None:
    page = visit(board / "index.html", hash="#dataset=tafeng&open=curves")
    chart = page.locator("#fold-curves .chart")
    assert lines_of(chart) == len(rows(page))
    red = pixels_of(chart, "red")
    chart.locator(".legend button", has_text="DIEN").click()
    assert pixels_of(chart, "red") == 0 < red
    for quantity, count in (("auxiliary_loss", 1), ("target_loss", len(rows(page)))):
        page.locator("#curve").select_option(quantity)
        assert lines_of(chart) == count


def test_the_overview_leads_to_the_rankings(visit: Any, board: Path, records: list[Record]) -> None:
    page = visit(board / "index.html", width=390, hash="#open=all")
    overview = page.locator("table.overview")
    assert overview.locator(".link").count() == len(PLACES)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expected = [
        means(records, *place)["augru"] for place in (("sports", "clean", "validation"), ("tafeng", "arxiv-v1", "test"))
    ]
    cells = overview.locator("tr", has=page.locator("th", has_text="AUGRU")).locator("td").all_inner_texts()
    assert [float(cells[0][:6]), float(cells[-1][:6])] == pytest.approx(expected, abs=5.1e-5)
    overview.locator(".link").last.focus()
    page.keyboard.press("Enter")
    assert "tafeng" in page.evaluate("document.activeElement.textContent")


def test_the_answer_comes_first_and_heads_stay_in_a_narrow_view(visit: Any, board: Path) -> None:
    page = visit(board / "index.html", width=390, hash="#row=base-model&compare=din&compare=dien")
    page.locator(".compare canvas").first.wait_for()
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    assert page.locator(".answer").bounding_box()["y"] < 844  # on the first screen
    assert row(page, "dien").bounding_box()["y"] < 2 * 844
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    row(page, "base-model").evaluate(
        "(row) => scrollTo({ top: row.getBoundingClientRect().top + scrollY - 60, behavior: 'instant' })"
    )
    heads = page.locator(".ranking > thead th:visible")
    assert heads.count() == 5
    assert {round(box["y"]) for box in (head.bounding_box() for head in heads.all())} == {0}
    assert row(page, "dien").bounding_box()["y"] < 0  # scrolled past
    assert row(page, "base-model").locator("svg.interval").bounding_box()["width"] > 80


def test_colours_follow_the_system_and_the_button(visit: Any, board: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = visit(board / "index.html").evaluate(paper)
    page = visit(board / "index.html", scheme="dark", hash="#compare=din&compare=dien")
    assert page.evaluate(paper) != light == "rgb(255, 255, 255)"
    chart = page.locator(".compare .chart").first
    assert pixels_of(chart, "red") > 50
    page.locator("#theme").click()
    assert page.evaluate(paper) == light
    assert pixels_of(chart, "red") > 50  # of the other red
    page.emulate_media(media="print")
    assert page.locator(".choices").is_hidden()
    assert page.locator("table.ranking").is_visible()
    page.emulate_media(media="screen")
    page.get_by_role("link", name="Claims").click()
    page.wait_for_url("**/claims.html*")
    assert page.evaluate(paper) == light


def test_every_control_has_a_name(visit: Any, board: Path) -> None:
    page = visit(board / "index.html", hash="#compare=din&compare=dien&open=scatter&open=curves&row=din&q=pnn")
    nameless = page.locator("button, select, input, summary, a[href], [tabindex='0']").evaluate_all(
        """all => all.filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length))
            .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert page.evaluate(
        "(ids => ids.length === new Set(ids).size)([...document.querySelectorAll('[id]')].map((one) => one.id))"
    )


def test_a_board_without_records_says_how_to_make_one(visit: Any, tmp_path: Path) -> None:
    page = visit(write_site(tmp_path, document([], []))[0])
    assert "No run is recorded yet" in page.locator("main").inner_text()
    assert "make reproduce-table4 DATASETS=tafeng" in page.locator("pre").inner_text()
