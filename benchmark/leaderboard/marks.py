"""Pages written by hand into which the build puts what it computes, between <!-- name --> and <!-- /name -->."""

import re
from collections.abc import Mapping
from pathlib import Path

from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

BEGIN = re.compile(r"^<!-- ([^/<>][^<>]*) -->\n", re.MULTILINE)


def marks_of(page: str) -> list[str]:
    """Return the names of a page's marks, each of which begins a line.

    >>> marks_of("a\\n<!-- levels -->\\nb\\n<!-- /levels -->\\n")
    ['levels']
    """
    return BEGIN.findall(page)


def fill(page: Path, parts: Mapping[str, str], *, other_marks: bool = False) -> None:
    """Put the Markdown of each part between its two marks, where the page has them.

    Raises UserError for a mark that is not closed and, unless `other_marks`, for one that no part is for; the page is
    left as it is then.
    """
    text = page.read_text("utf-8")
    pieces, end = [], 0
    for begin in BEGIN.finditer(text):
        name = begin[1]
        if name not in parts:
            if not other_marks:
                raise UserError(f"{page} has the mark <!-- {name} -->, expected one of {', '.join(parts)}")
            continue
        close = text.find(f"<!-- /{name} -->", begin.end())
        if close < 0:
            raise UserError(f"{page}: the mark <!-- {name} --> is not closed, expected <!-- /{name} --> below it")
        pieces += [text[end : begin.end()], parts[name].strip("\n"), "\n"]
        end = close
    write_atomically(page, "".join([*pieces, text[end:]]).encode())
