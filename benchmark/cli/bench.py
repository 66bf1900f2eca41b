"""How fast it is, and whether a GPU computes what it should: `bench`, `serving-table`, `soak`, `gpu-check`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.cli.options import (
    DataDir,
    Json,
    Models,
    Out,
    ProtocolName,
    Quiet,
    VariantName,
    completes,
    dataset_names,
    names_of,
    require,
)
from benchmark.cli.output import Output
from benchmark.records import paper
from datamodules.errors import UserError


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
        models=tuple(names_of(models) if models else sorted(paper.LABELS, key=paper.order)),
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


def serving_table(
    dataset: Annotated[
        str | None, typer.Option(help="Of the runs that are served.", show_default="market, with --quick generated")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Of the runs that are served.", show_default="next-day, with --quick clean")
    ] = None,
    variant: VariantName = "official",
    seed: Annotated[int, typer.Option(min=0, help="Of the runs that are served.")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; fewer than three are inconclusive.")] = 3,
    only: Annotated[
        str | None, typer.Option(help="Steps: eager fused once batches light scan buckets. Not given: all.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes and untrained models: to see that it works.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Runs side by side, where some have to be trained.")] = 2,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure the ladder of the paper's serving section, and write OUT/serving.md, .csv and a figure.

    From a plain loop that serves one request at a time to the light net, exported. Each step is served on one core and
    loaded from another, in three rounds: latencies, and the largest rate at p99 <= 50 ms, with 1, 50 and 200
    candidates. Trains the two models where they are missing. Each measurement is kept in OUT/serving/records, and what
    is there is not measured again.

    Example: dien-bench serving-table --quick --out runs/quick
    """
    output = Output(as_json=as_json, quiet=quiet)
    require("serving", "starlette", "uvicorn", "prometheus_client", "aiohttp")
    require("export", "onnx", "onnxruntime", "onnxscript")
    from dataclasses import replace

    from benchmark.bench.serving.figure import figure_ladder
    from benchmark.bench.serving.ladder import QUICK, Plan, measure_ladder
    from benchmark.bench.serving.steps import STEPS, step_of
    from benchmark.bench.serving.table import ladder_table
    from benchmark.bench.timing import BUSY, load_average
    from benchmark.executors.sweep import sweep
    from benchmark.report.render import write_table
    from benchmark.runs.config import RunConfig
    from datamodules.datasets import prepare_dataset

    steps = [step_of(name) for name in names_of(only)] if only else list(STEPS)
    dataset, protocol = dataset or ("generated" if quick else "market"), protocol or ("clean" if quick else "next-day")
    configs = {
        model: RunConfig(
            dataset,
            protocol,
            model,
            variant,
            seed,
            steps=5 if quick else None,
            data_dir=str(data_dir),
            out=str(out),
        )
        for model in dict.fromkeys(step.model for step in steps)
    }
    for config in configs.values():
        config.check()
    prepare_dataset(dataset, data_dir, report=output.say)
    result = sweep(list(configs.values()), workers=workers, quiet=quiet)
    if result.failed:
        raise UserError("; ".join(f"{name} failed: {reason}" for name, reason in result.failed.items()))
    if (busy := load_average()[0]) >= BUSY and not quick:
        output.say(f"warning: load average {busy}, expected below {BUSY}: latencies will be too high", style="yellow")
    plan = QUICK if quick else replace(Plan(), repeats=repeats)
    runs = {model: config.folder() for model, config in configs.items()}
    cells = measure_ladder(plan, runs, data_dir, out / "serving", steps, output.say)
    made = ladder_table(cells)
    output.show(made)
    files = [*write_table(made, out, "serving"), *figure_ladder(cells, out / "serving")]
    output.written(files)
    rows = [dict(zip(made.csv_rows[0], values, strict=True)) for values in made.values()]
    output.result({"title": made.title, "rows": rows, "files": files})


def soak(
    run: Annotated[Path, typer.Option("--run", help="Folder of a finished run, with its weights.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="How long.")] = 60.0,
    share: Annotated[float, typer.Option(min=0.01, max=1, help="Of the largest rate at p99 <= 50 ms.")] = 0.7,
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, help="Requests a second.", show_default="a share of the largest, found first"),
    ] = None,
    history: Annotated[int, typer.Option(min=0, help="Behaviours in a request.")] = 50,
    candidates: Annotated[int, typer.Option(min=1, help="Candidates in a request.")] = 50,
    out: Out = Path("runs"),
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", envvar="DIEN_BENCH_DATA", help="Folder of its data.", show_default="where the run had it"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve a run under load for an hour and write OUT/soak.json and soak.md: does memory grow, does a request fail?

    Exit code 1: memory grows, or a request was not answered.

    Example: dien-bench soak --run runs/tafeng/clean/dien-official/seed-0 --minutes 10
    """
    output = Output(as_json=as_json)
    require("serving", "starlette", "uvicorn", "prometheus_client", "aiohttp")
    from benchmark.bench.serving.soak import soak as measure

    made = measure(
        run,
        data_dir,
        out,
        minutes=minutes,
        share=share,
        rate=rate,
        candidates=candidates,
        history=history,
        report=output.say,
    )
    output.show(made)
    output.written(out / name for name in ("soak.json", "soak.md"))
    result = json.loads((out / "soak.json").read_text("utf-8"))
    output.result(result)
    if result["memory"]["verdict"] == "grows" or result["counts"]["refused"] + result["counts"]["failed"]:
        raise typer.Exit(1)
