"""The command line, `dien-bench` or `python -m benchmark`."""

import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from benchmark.cli import bench, data, figures, models, run, serving
from benchmark.cli import leaderboard as board
from benchmark.cli import table as results
from benchmark.cli.options import Command
from benchmark.records.commit import commit
from benchmark.runs.process import make_streams_lenient, own_variables
from datamodules.errors import UserError, blocks_writing, cannot_write, printable

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order of `dien-bench --help`.
for command in (
    data.prepare,
    data.import_data,
    models.new_model,
    models.check_model,
    models.tune,
    run.run,
    run.quickstart,
    results.table,
    figures.figure,
    results.probe,
    serving.abtest,
    serving.export,
    serving.serve,
    serving.load_test,
    bench.bench,
    bench.serving_table,
    bench.soak,
    bench.gpu_check,
    figures.wandb_workspace,
):
    app.command("import" if command is data.import_data else None, cls=Command)(command)
app.add_typer(board.leaderboard, name="leaderboard")
app.add_typer(models.listing, name="list")


def show_version(given: bool) -> None:
    """Print the version, and of a checkout the commit, and end."""
    if given:
        found = commit()
        try:
            number = version("dien-bench")
        except PackageNotFoundError:  # the folder of the packages is on PYTHONPATH
            number = "not installed"
        print(f"dien-bench {number}" + (f", commit {found}" if found else ""))
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print version and commit, and end."),
    ] = False,
) -> None:
    """A reproducible benchmark of DIEN and the models that it is compared with."""


def main() -> None:
    """Run the command line: exit code 0 done, 1 some run failed, 2 a mistake to mend, 130 interrupted."""
    make_streams_lenient()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: workers are stopped, temporary files removed
    os.environ.update(own_variables())  # before anything imports Matplotlib or Numba
    try:
        app(standalone_mode=True)
    except UserError as error:
        _end_with(error)
    except OSError as error:
        if not blocks_writing(error):
            raise
        _end_with(cannot_write(error.filename or "a file", error, "run the command again"))
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with(error: UserError) -> NoReturn:
    text = printable(f"error: {error}")
    Console(stderr=True).print(text, style="red", markup=False, emoji=False, highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
