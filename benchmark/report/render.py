"""A finished table and how it is shown: Markdown for pages, CSV for programs, rich for the screen."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from datamodules.errors import UNSHOWN
from datamodules.files.atomic import write_atomically

NAMES = {"dataset", "protocol", "variant", "model"}  # columns of a CSV that hold no numbers
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")  # as Python's formats write them


@dataclass(frozen=True)
class Section:
    """Cells under an optional heading, `bold` the (row, column) of emphasised ones, and what to say below them."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A finished table: sections for people, lines for programs; `console.print` of rich shows it."""

    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    csv_rows: tuple[tuple[str, ...], ...]  # the first is the header

    def markdown(self) -> str:
        """Return the table as GitHub Markdown; names are escaped, so that they show as they are."""
        blocks = [f"## {escape_markdown(self.title)}"]
        for section in self.sections:
            if section.heading:
                blocks.append(f"### {escape_markdown(section.heading)}")
            rule = ["---"] + ["---:"] * (len(section.header) - 1)
            lines = [[escape_markdown(name) for name in section.header], rule]
            for i, row in enumerate(section.rows):
                stars = ["**" if (i, j) in section.bold else "" for j in range(len(row))]
                lines.append([f"{s}{escape_markdown(cell)}{s}" for s, cell in zip(stars, row, strict=True)])
            blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
            blocks += [escape_markdown(section.note)] if section.note else []
        blocks += [escape_markdown(note) for note in self.notes]
        return "\n\n".join(blocks) + "\n"

    def csv(self) -> str:
        """Return the table as CSV: a header, one line a data set and row; what is not known is empty."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(self.csv_rows)
        return out.getvalue()

    def values(self) -> list[list[float | str | None]]:
        """Return the lines of the CSV without its header: numbers as numbers, None for what is not known.

        A name is a text, also one that reads like a number.
        """
        header, *lines = self.csv_rows or ((),)
        return [
            [cell if name in NAMES else _value(cell) for name, cell in zip(header, line, strict=True)] for line in lines
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what a rich console shows: of each section the columns, from the left, that fit without a break."""
        yield Text(one_line(self.title), style="bold")
        for section in self.sections:
            columns = _fitting(section, options.max_width)
            grid = RichTable(title=Text(one_line(section.heading)), box=box.SIMPLE_HEAD)
            for j in range(columns):
                grid.add_column(Text(section.header[j]), justify="left" if j == 0 else "right")
            for i, row in enumerate(section.rows):
                styles = ["bold" if (i, j) in section.bold else "" for j in range(columns)]
                # Text and not str, so that brackets in a name are no markup.
                grid.add_row(*(Text(one_line(cell), style) for cell, style in zip(row, styles, strict=False)))
            yield grid
            if left_out := section.header[columns:]:
                yield Text(f"Too narrow for: {', '.join(left_out)}\n", style="dim")
            if section.note:
                yield Text(one_line(section.note) + "\n")
        yield from (Text(note, style="dim") for note in self.notes)


def _fitting(section: Section, width: int) -> int:
    """The number of columns that fit, two at least; cells stay on one line, words of a header may not."""
    used = 2  # the table's edges
    for j, name in enumerate(section.header):
        cells = [one_line(row[j]) for row in section.rows]
        used += 2 + max(map(cell_len, [*name.split(), *cells]), default=0)
        if used > width and j > 1:
            return j
    return len(section.header)


def _value(cell: str) -> float | str | None:
    if not NUMBER.fullmatch(cell):
        return cell or None
    return int(cell) if cell.lstrip("+-").isdecimal() else float(cell)


def write_table(made: Table, out: Path, stem: str) -> tuple[Path, Path]:
    """Write out/<stem>.md and out/<stem>.csv, each in one step, and return their paths.

    Raises UserError where a file cannot be written.
    """
    markdown, lines = out / f"{stem}.md", out / f"{stem}.csv"
    write_atomically(markdown, made.markdown().encode("utf-8"))
    write_atomically(lines, made.csv().encode("utf-8"))
    return markdown, lines


def one_line(text: str) -> str:
    """Return `text` with every run of line breaks and other characters that do not show as one space."""
    return re.sub(f"{UNSHOWN.pattern}+", " ", text)


def escape_markdown(text: str) -> str:
    r"""Return `text` as one line of Markdown that shows exactly it, also in a table cell.

    >>> print(escape_markdown("a|b `c`\nd"))
    a\|b \`c\` d
    """
    escaped = re.sub(r"([\\`*_|~<>\[\]$])", r"\\\1", one_line(text))
    return re.sub(r"&(?=#?\w+;)", r"\\&", escaped)  # "Wide&Deep" is no entity and stays readable


def fixed(value: float | None, digits: int) -> str:
    """Return a number with so many digits; nothing for None."""
    return "" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, reference: float | None, digits: int) -> str:
    """Return value - reference with its sign; zero has a plus."""
    if value is None or reference is None:
        return ""
    return f"{round(value - reference, digits) + 0.0:+.{digits}f}"
