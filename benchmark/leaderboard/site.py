"""The leaderboard as pages that need no server and ask none.

A page of board/site carries what it shows as a JSON document (site_data.py), and lies beside its style and its
scripts, so that it opens from a file. The same records give the same bytes. Text of a record reaches the page
as JSON in which no tag can begin, and is shown as text.
"""

import csv
import html
import io
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

from benchmark.leaderboard.store import GALLERY
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

ASSETS = files("benchmark.leaderboard") / "assets"
SCRIPTS = (
    *(
        "page.js",
        "format.js",
        "view.js",
        "chart.js",
        "interval.js",
        "detail.js",
        "ranking.js",
        "answer.js",
        "curves.js",
    ),
    *("compare.js", "scatter.js", "search.js", "overview.js", "evolution.js", "board.js"),
)
VENDORED = ("uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE")  # assets/vendor/README.md
OWN_PAGES = {
    "README.md": "index.html",
    "claims.md": "claims.html",
    "study.md": "study.html",
    "study-details.md": "study-details.html",
}
MARK = re.compile("<!-- /?[^<>]* -->")
PLACE = '<div id="board"></div>'  # where a script shows the page's data

CSV_COLUMNS = (
    *("dataset", "protocol", "variant", "selection", "metric", "reported", "rank", "model", "seeds", "failed"),
    *("mean", "std", "low", "high", "parameters", "training_seconds", "values"),
)
FIGURE_PARTS = ("title", "history", "variance", "targets", "caption", "command")


class Page(NamedTuple):
    """One page of the site: its title, what stands in it, and what its script shows."""

    title: str
    body: str
    data: dict[str, Any] = {"kind": "text"}  # noqa: RUF012  (never written to)


def write_site(board: Path, shown: dict[str, Any], options: dict[str, Any] | None = None) -> list[Path]:
    """Write board/site from documents of `site_data` and the board's pages; return the paths, index.html first.

    `options` has the rankings of rows with options, which stand under board/study-details.md, where there is one. The
    figures of gallery/figure3-*.json get a page. Without runs the first page says how to make one. What the first page
    shows is also written as leaderboard.json and leaderboard.csv.
    """
    claims = (board / "claims.md").read_text("utf-8") if shown["runs"] else "# Claims\n\nNo run is recorded yet.\n"
    pages = {
        "index.html": Page("Leaderboard", PLACE, {"kind": "board", "board": shown}),
        "claims.html": Page("Claims", _prose(claims)),
    }
    if (study := board / "study.md").is_file():
        pages["study.html"] = Page("Study", _prose(study.read_text("utf-8")))
    if (details := board / "study-details.md").is_file() or options:
        text = details.read_text("utf-8") if details.is_file() else "# Settings\n\nNothing is written about them yet.\n"
        rows = {"kind": "study", "board": options}
        pages["study-details.html"] = Page("Settings", _prose(text) + PLACE, rows if options else {"kind": "text"})
    if figures := read_figures(board):
        pages["figure3.html"] = Page("Evolving interests", PLACE, {"kind": "figure3", "figures": figures})
    links = "\n".join(f'<a href="{name}">{page.title}</a>' for name, page in pages.items())
    contents = {
        name: _html(page, links.replace(f'"{name}"', f'"{name}" aria-current="page"')) for name, page in pages.items()
    }
    contents |= {name: (ASSETS / name).read_text("utf-8") for name in ("style.css", *SCRIPTS)}
    whole = json.dumps(shown, allow_nan=False, separators=(",", ":"))
    contents |= {"leaderboard.json": whole, "leaderboard.csv": csv_of(shown)}
    contents |= {name: (ASSETS / "vendor" / name).read_text("utf-8") for name in VENDORED}
    for name, content in contents.items():
        write_atomically(board / "site" / name, content.encode("utf-8"))
    for name in {"study.html", "study-details.html", "figure3.html"} - set(pages):
        (board / "site" / name).unlink(missing_ok=True)  # of a time when the board had one
    return [board / "site" / name for name in contents]


def csv_of(shown: dict[str, Any]) -> str:
    """Return all rankings of a document as CSV, a line a row of a ranking; `values` are those of its seeds in order."""
    out = io.StringIO()
    lines = csv.DictWriter(out, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    lines.writeheader()
    for ranking in shown["rankings"]:
        for line in ranking["lines"]:
            row = shown["rows"][line["key"]]
            joined = {name: " ".join(map(str, line[name])) for name in ("seeds", "values")}
            costs = {name: row[name] for name in ("parameters", "training_seconds")}
            lines.writerow(ranking | line | joined | costs)
    return out.getvalue()


def read_figures(board: Path) -> list[dict[str, Any]]:
    """Return the figures of board/gallery/figure3-*.json, by name.

    Raises `UserError` for one that shows a user: a history is rows of a data set, which are not ours to publish.
    """
    found = []
    for path in sorted((board / GALLERY).glob("figure3-*.json")):
        try:
            figure = json.loads(path.read_text("utf-8"))
            user, _ = figure["user"], [figure[name] for name in FIGURE_PARTS]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no figure 3 ({error}): make it again, dien-bench figure 3 --help") from error
        if user is not None:
            raise UserError(
                f"{path} shows the history of user {user}, rows of the data set; on the board stand histories made of "
                "categories, --history: move its files away"
            )
        found.append(figure)
    return found


def embed(value: object) -> str:
    r"""Return JSON that can stand inside a script element: it has no character that could begin a tag.

    >>> embed({"name": "</script>&"})
    '{"name":"\\u003c/script\\u003e\\u0026"}'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def render_markdown(text: str) -> str:
    """Return one of the board's Markdown pages as HTML whose links lead from site/; of HTML in it only <br> is kept.

    Marks, as <!-- levels -->, between which the build writes, do not show.
    """
    renderer = MarkdownIt("commonmark").enable("table")

    def text_of(self: Any, tokens: Sequence[Any], index: int, options: object, env: object) -> str:
        content = str(tokens[index].content)
        return content if content == "<br>" else "" if MARK.fullmatch(content.strip()) else html.escape(content)

    for kind in ("html_inline", "html_block"):
        renderer.add_render_rule(kind, text_of)
    tokens = renderer.parse(text)
    for child in (child for token in tokens for child in token.children or ()):
        name = {"link_open": "href", "image": "src"}.get(child.type)
        if name is not None:
            target = str(child.attrGet(name))
            child.attrSet(name, OWN_PAGES.get(target) or (target if ":" in target else f"../{target}"))
    body = str(renderer.renderer.render(tokens, renderer.options, {}))
    region = '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
    return body.replace("<table>", region).replace("</table>", "</table></div>")


def _prose(markdown: str) -> str:
    return f'<article class="prose">{render_markdown(markdown)}</article>'


def _html(page: Page, links: str) -> str:
    template = Template((ASSETS / "page.html").read_text("utf-8"))
    scripts = "\n".join(f'<script src="{name}"></script>' for name in SCRIPTS)
    return template.substitute(title=page.title, body=page.body, data=embed(page.data), links=links, scripts=scripts)
