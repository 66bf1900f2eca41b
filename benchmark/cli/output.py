"""What commands print: words and tables for people, or with --json one document for programs."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from datamodules.errors import printable

WIDE = 200  # columns for a table that goes to a file or a pipe, where a terminal's width means nothing


class Output:
    """The screen of one command.

    With `as_json` stdout holds the result alone, and everything else goes to stderr; with `quiet` words are left out,
    and results stay. Colours are for terminals: rich leaves them out elsewhere, and where NO_COLOR is set.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        stdout = Console()
        self._console = Console(stderr=as_json, width=None if stdout.is_terminal or as_json else WIDE)

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line as it is: neither cut nor wrapped, so that paths and commands can be copied."""
        if not self.quiet:
            line = printable(text)  # what a file says is shown, not obeyed
            self._console.print(line, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def show(self, result: RenderableType) -> None:
        """Print what people asked for: a table."""
        if not self.as_json:
            self._console.print(result)

    def written(self, paths: Iterable[Path]) -> None:
        """Print where files lie, one a line."""
        for path in paths:
            self.say(str(path))

    def advise(self, *commands: str) -> None:
        """Print what to do next, one a line."""
        for command in commands:
            self.say(f"next: {command}", style="dim")

    def result(self, data: Any) -> None:
        """Print the result as JSON, where it was asked for."""
        if self.as_json:
            print(json.dumps(data, indent=1, default=str, allow_nan=False))
