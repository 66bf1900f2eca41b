"""`dien-bench bench` and `dien-bench gpu-check`: how fast it is, and whether a GPU computes what it should."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.cli.options import DataDir, Json, Models, Out, ProtocolName, VariantName, completes, dataset_names
from benchmark.cli.output import Output
from benchmark.records import paper


def bench(
    parts: Annotated[
        list[str] | None, typer.Argument(help="kernels, train, phases, batches, prepare, peers; none: all but peers.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch; a run has one.")] = 1,
    repeats: Annotated[int, typer.Option(help="Measurements of each figure.")] = 7,
    clock: Annotated[Literal["wall", "cpu"], typer.Option(help="cpu: processor time, for a busy machine.")] = "wall",
    quick: Annotated[bool, typer.Option(help="Tiny sizes, two repeats: to see that it works.")] = False,
    models: Models = None,
    variant: VariantName = "official",
    batch_size: Annotated[int | None, typer.Option(help="Samples a step; by default those of a run.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Time on this prepared data set too.", autocompletion=completes(dataset_names)),
    ] = None,
    protocol: ProtocolName = "arxiv-v1",
    size: Annotated[int, typer.Option(help="Reviews in the files that `prepare` is timed on.")] = 200_000,
    peers_python: Annotated[
        Path, typer.Option(help="Python of the peers' environment, which make bench-peers makes.")
    ] = Path(".venv-peers/bin/python"),
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    as_json: Json = False,
) -> None:
    """Measure speed, and write OUT/bench.json and OUT/bench.md.

    kernels: the recurrences alone. train: a step and an evaluation of every row.
    batches: making them. prepare: raw files to interactions.
    peers: DIEN of other packages on the same batches (make bench-peers).

    Example: dien-bench bench kernels train --models "din dien" --dataset sports
    """
    from benchmark.bench.suite import DEFAULT_PARTS, BenchConfig
    from benchmark.bench.suite import bench as measure
    from benchmark.runs.config import RunConfig

    config = BenchConfig(
        parts=tuple(parts or DEFAULT_PARTS),
        models=tuple(models.split() if models else sorted(paper.LABELS, key=paper.order)),
        variant=variant,
        threads=threads,
        repeats=2 if quick else repeats,
        clock=clock,
        quick=quick,
        batch_size=RunConfig.batch_size if batch_size is None else batch_size,
        dataset=dataset,
        protocol=protocol,
        data_dir=str(data_dir),
        reviews=min(size, 2_000) if quick else size,
        peers_python=str(peers_python),
        out=str(out),
    )
    output = Output(as_json=as_json)
    output.show(measure(config, report=output.say))
    output.written(out / name for name in ("bench.json", "bench.md"))
    output.result(json.loads((out / "bench.json").read_text("utf-8")))


def gpu_check(
    seconds: Annotated[
        float, typer.Option(help="For all checks; those that have not begun by then are skipped.")
    ] = 480,
    quick: Annotated[
        bool, typer.Option(help="Tiny sizes, on the CPU where there is no GPU: to see that it works.")
    ] = False,
    out: Out = Path("runs"),
) -> None:
    """Check the GPU's path and measure it, and write OUT/gpu-check.json and OUT/gpu-check.md.

    parity: the recurrence against float64. tests: those for a device. recurrences: beside cuDNN's GRU.
    steps: a step, an evaluation, memory. graph, compile: a step of DIEN as a CUDA graph and by torch.compile.
    A check that fails, hangs or is not to be had is a line, and the others go on. Exit code 1: one has failed.
    Without a GPU all are skipped.

    Example: dien-bench gpu-check --quick
    """
    from benchmark.bench.gpu.suite import gpu_check as check

    output = Output()
    table, passed = check(out, seconds, quick, report=output.say)
    for name, what, status, figures in table.sections[0].rows:  # too long for the columns of a terminal
        output.say(f"{name or f'  {what}'}: {status}: {figures}", style="red" if status == "failed" else None)
    output.written(out / name for name in ("gpu-check.json", "gpu-check.md"))
    if not passed:
        raise typer.Exit(1)
