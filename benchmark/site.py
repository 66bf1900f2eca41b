"""The leaderboard as a page that needs no server and asks none.

board/site/index.html carries what it shows as a JSON document (site_data.py), and lies beside its style and its
scripts, so that it opens from a file. The same records give the same bytes. Text of a record reaches the page
as JSON in which no tag can begin, and is shown as text.
"""

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from markdown_it import MarkdownIt

from benchmark.probes import Probes
from benchmark.records import Record, write_atomically
from benchmark.site_data import Shown, document

ASSETS = files("benchmark") / "site_assets"
COPIED = ("style.css", "chart.js", "board.js")


def write_site(
    board: Path, records: Sequence[Record], tables: Sequence[Shown], measured: Sequence[Probes]
) -> list[Path]:
    """Write board/site from the records and tables of the board and its claims.md; return the paths, index.html first.

    Without records the page says how to make one.
    """
    claims = (board / "claims.md").read_text("utf-8") if records else "# Claims\n\nNo run is recorded yet.\n"
    data = embed(document(records, tables, measured))
    contents = {
        "index.html": _page("Leaderboard", '<div id="board"></div>', data),
        "claims.html": _page("Claims", f'<article class="prose">{render_markdown(claims)}</article>', "null"),
    }
    contents |= {name: (ASSETS / name).read_text("utf-8") for name in COPIED}
    for name, content in contents.items():
        write_atomically(board / "site" / name, content.encode("utf-8"))
    return [board / "site" / name for name in contents]


def embed(value: object) -> str:
    r"""Return JSON that can stand inside a script element: it has no character that could begin a tag.

    >>> embed({"name": "</script>&"})
    '{"name":"\\u003c/script\\u003e\\u0026"}'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def render_markdown(text: str) -> str:
    """Return one of the board's Markdown pages as HTML whose links lead from site/; of HTML in it only <br> is kept."""
    renderer = MarkdownIt("commonmark").enable("table")

    def text_of(self: Any, tokens: Sequence[Any], index: int, options: object, env: object) -> str:
        content = str(tokens[index].content)
        return content if content == "<br>" else html.escape(content)

    for kind in ("html_inline", "html_block"):
        renderer.add_render_rule(kind, text_of)
    tokens = renderer.parse(text)
    for link in (child for token in tokens for child in token.children or () if child.type == "link_open"):
        target = str(link.attrGet("href"))
        link.attrSet("href", "index.html" if target == "README.md" else target if ":" in target else f"../{target}")
    body = str(renderer.renderer.render(tokens, renderer.options, {}))
    region = '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
    return body.replace("<table>", region).replace("</table>", "</table></div>")


def _page(title: str, body: str, data: str) -> str:
    template = Template((ASSETS / "page.html").read_text("utf-8"))
    return template.substitute(title=title, body=body, data=data)
