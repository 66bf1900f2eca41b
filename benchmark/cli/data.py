"""`dien-bench prepare` and `import`: raw files, or a click log of your own, to interactions and samples."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from benchmark.cli.options import DataDir, Json, Quiet, command, completes, dataset_names, names_of, protocol_names
from benchmark.cli.output import Output

Quotes = Literal["line", "none", "multiline"]  # of datamodules.sources.click_file, which takes half a second to import


def prepare(
    datasets: Annotated[
        list[str],
        typer.Argument(
            help="Names of data sets: electronics books sports tafeng ...",
            autocompletion=completes(dataset_names),
        ),
    ],
    protocol: Annotated[
        str | None,
        typer.Option(help="Make the samples of this protocol too.", autocompletion=completes(protocol_names)),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only ask every source of the raw files whether it has them.")
    ] = False,
    mirrors: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror", help="With --check: a URL or folder to ask; can be given again.", show_default="all known"
        ),
    ] = None,
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Download and prepare data sets.

    Example: dien-bench prepare tafeng --protocol clean
    """
    from datamodules.datasets import get_dataset, prepare_dataset
    from datamodules.files.manifest import load_manifest
    from datamodules.protocol import get_protocol
    from datamodules.sources.spec import FinishedSpec, ImpressionSpec

    output = Output(as_json=as_json, quiet=quiet)
    datasets = names_of(" ".join(datasets))
    for name in datasets:
        get_dataset(name, data_dir)
    if protocol:
        get_protocol(protocol)
    if check:
        _check_sources(datasets, data_dir, mirrors, output)
        return
    prepared: list[dict[str, Any]] = []
    for name in datasets:
        folder = prepare_dataset(name, data_dir, report=output.say)
        prepared.append({"dataset": name, "folder": str(folder), "counts": load_manifest(folder)["counts"]})
        if protocol:
            from datamodules.samples.file import prepare_samples
            from datamodules.samples.vocabulary import vocabulary

            samples = prepare_samples(name, protocol, data_dir)
            splits = {split: len(getattr(samples, split)) for split in ("train", "validation", "test")}
            unknown = vocabulary(samples).unknown_shares(samples, samples.test)
            prepared[-1] |= {"protocol": protocol, "samples": splits, "unknown_to_training": unknown}
            output.say(
                f"{name}: {protocol} gives {splits['train']:,} training, {splits['validation']:,} validation, "
                f"{splits['test']:,} test samples; of these, unknown to training: "
                + ", ".join(f"{field} {share:.1%}" for field, share in unknown.items())
            )
        output.say(f"{name}: ready in {folder}")
    specs = [get_dataset(name, data_dir) for name in datasets]
    impressions = any(isinstance(spec, ImpressionSpec) for spec in specs)
    finished = all(isinstance(spec, FinishedSpec) for spec in specs)
    protocol = protocol or ("next-day" if impressions else "released" if finished else None)
    chosen = ("--protocol", protocol) if protocol else ()
    table = "3" if impressions else "4"
    output.advise(command("dien-bench", "run", "--datasets", " ".join(datasets), *chosen, "--table", table))
    output.result(prepared)


def _check_sources(datasets: list[str], data_dir: Path, mirrors: list[str] | None, output: Output) -> None:
    """Say of every raw file which sources have it; raises `UserError` where a file has none."""
    from datamodules.datasets import get_dataset
    from datamodules.errors import UserError
    from datamodules.files.answers import ask

    found: list[dict[str, Any]] = []
    lacking = []
    for name in datasets:
        files = get_dataset(name, data_dir).files
        if not files:
            output.say(f"{name}: has no files on a server")
        for file in files:
            answers = [ask(file, source) for source in mirrors or file.sources]
            for answer in answers:
                has = "has it" if answer.answers else "does not give it"
                output.say(f"{answer.file}: {answer.source} {has}: {answer.says}")
            found += [{"dataset": name, **asdict(answer)} for answer in answers]
            lacking += [] if any(answer.answers for answer in answers) else [file.name]
    output.result(found)
    if lacking:
        raise UserError(f"no source has {', '.join(lacking)}: set DATA_MIRROR or AMAZON_MIRROR to one that does")


def import_data(
    clicks: Annotated[
        Path, typer.Argument(help="The log: CSV, also compressed (gzip, zip, ...), or Parquet; a row a click.")
    ],
    name: Annotated[str, typer.Option(help="What the data set is called from now on.")],
    user: Annotated[str, typer.Option(help="Column of the user.")] = "user",
    item: Annotated[str, typer.Option(help="Column of the item.")] = "item",
    category: Annotated[str, typer.Option(help="Column of the item's category.")] = "category",
    time: Annotated[str, typer.Option(help="Column of the time, unix seconds or ISO 8601.")] = "time",
    label: Annotated[
        str | None, typer.Option(help="Column that is 1 for a click, 0 for none; 'label' if there is one.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Names of all columns in their order, of a CSV file without a header: user,item,..."),
    ] = None,
    quotes: Annotated[
        Quotes,
        typer.Option(
            help="Double quotes in a CSV file: they close on their line, are characters like any other (none), or may "
            "hold line breaks (multiline)."
        ),
    ] = "line",
    delimiter: Annotated[str, typer.Option(help="What stands between two cells; 'tab' for a tabulator.")] = ",",
    min_behaviours: Annotated[int, typer.Option(help="Users with fewer are left out.")] = 2,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of a run; three passes if not given.")] = None,
    ordered_ties: Annotated[
        bool, typer.Option(help="Whether behaviours with one time have a known order; if not, a history ends before.")
    ] = True,
    title: Annotated[str | None, typer.Option(help="What it is, in a line, for the manifest.")] = None,
    licence: Annotated[str | None, typer.Option(help="Under which terms, for the manifest.")] = None,
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a click log of your own a data set; then NAME stands wherever a data set is asked for.

    Example: dien-bench import clicks.csv --name my-clicks --user visitor --time when
    """
    from datamodules.errors import UserError
    from datamodules.files.manifest import load_manifest
    from datamodules.sources.click_file import ClickFile
    from datamodules.sources.clicks import import_clicks

    output = Output(as_json=as_json, quiet=quiet)
    between = "\t" if delimiter in ("tab", "\\t") else delimiter
    if len(between) != 1:
        raise UserError(f"the delimiter must be one character or 'tab', got {delimiter!r}")
    names = tuple(name.strip() for name in columns.split(",")) if columns else None
    folder = import_clicks(
        ClickFile(clicks, user, item, category, time, label, between, names, quotes),
        name,
        data_dir,
        title=title,
        licence=licence,
        min_behaviours=min_behaviours,
        steps=steps,
        order_within_time=ordered_ties,
        report=output.say,
    )
    output.say(f"{name}: ready in {folder}")
    output.advise(f"dien-bench run --datasets {name}")
    output.result({"dataset": name, "folder": str(folder), "counts": load_manifest(folder)["counts"]})
