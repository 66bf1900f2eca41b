"""Trained runs in use: `dien-bench export`, `serve`, `load-test`, and `abtest` in the simulated market."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import typer

from benchmark.cli.options import DataDir, Json, Out, Quiet, command, names_of, require, seeds_of
from benchmark.cli.output import Output
from datamodules.errors import UserError

RunFolder = Annotated[Path, typer.Option("--run", help="Folder of a finished run, with its weights.")]
RunData = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", envvar="DIEN_BENCH_DATA", help="Folder of its data.", show_default="where the run had it"
    ),
]
ARMS = "base-model din dien"


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    kind: Annotated[
        Literal["onnx", "torch"], typer.Option("--format", help="onnx: a graph; torch: a program of torch.export.")
    ] = "onnx",
    loop: Annotated[
        Literal["scan", "buckets"] | None,
        typer.Option(
            help="The recurrence in ONNX. scan: one loop for any length; buckets: written out for histories of up to "
            "10, 20, 50 and 100, Scan beyond.",
            show_default="what measured better",
        ),
    ] = None,
    data_dir: RunData = None,
) -> None:
    """Write a run as one file that takes a history of any length and any number of candidates.

    Inputs are rows of the embedding tables: user_FIELD (1,), history_FIELD (T,), target_FIELD (N,), context_FIELD (N,);
    the output is the probabilities (N,). What is written gives the run's probabilities to 1e-5, or nothing is written.
    Its metadata name the run, the sizes of its tables, and the sha256 of its vocabulary. A torch program is loaded by
    torch.export.load, after import benchmark.serving.export.

    Example: dien-bench export --run runs/tafeng/clean/dien-official/seed-0 --out dien.onnx
    """
    output = Output()
    require("export", "onnx", "onnxruntime", "onnxscript")
    from benchmark.runs.trained import load_run
    from benchmark.serving.export import FASTER, write_onnx, write_torch
    from benchmark.serving.runs import scorer_of

    if loop and kind == "torch":
        raise UserError(f"--loop {loop} is of ONNX, a torch program has the recurrence as one operator: leave it out")
    scorer = scorer_of(load_run(run, data_dir=data_dir))
    difference = write_torch(scorer, out) if kind == "torch" else write_onnx(scorer, out, loop or FASTER)
    output.say(", ".join(f"{name} {value}" for name, value in scorer.about.items()))
    output.say(f"largest difference to the run's probabilities: {difference:.1e}")
    output.written([out])


def serve(
    run: RunFolder,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: reachable from outside.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one.")] = 8000,
    window: Annotated[float, typer.Option(min=0, help="Milliseconds that a request waits for others at most.")] = 2.0,
    batch_requests: Annotated[int, typer.Option(min=1, help="Requests in a batch at most.")] = 64,
    batch_candidates: Annotated[int, typer.Option(min=1, help="Candidates in a batch of several requests.")] = 256,
    waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait; beyond it 503.")] = 256,
    max_wait: Annotated[
        float, typer.Option(min=0, help="Seconds that a request waits for its batch at most; beyond it 503.")
    ] = 5.0,
    max_history: Annotated[int, typer.Option(min=1, help="Behaviours in a request at most.")] = 1_000,
    max_candidates: Annotated[int, typer.Option(min=1, help="Candidates in a request at most.")] = 1_000,
    threads: Annotated[int, typer.Option(min=1, help="Cores that score a batch.")] = 1,
    data_dir: RunData = None,
    quiet: Quiet = False,
) -> None:
    """Serve a run: POST /predict takes one user's history and N candidates and returns N probabilities.

    Requests of different users share batches. GET /health has the fields and the limits of requests, GET /metrics
    counters for Prometheus. Ctrl-C or SIGTERM answers what was taken, and ends.

    Example: dien-bench serve --run runs/tafeng/clean/dien-official/seed-0
    """
    output = Output(quiet=quiet)
    if 1e3 * max_wait <= window:
        raise UserError(
            f"--max-wait must be longer than --window, which is {window:g} milliseconds, got {max_wait:g} seconds: a "
            "lone request would never be scored"
        )
    require("serving", "starlette", "uvicorn", "prometheus_client")
    import torch

    from benchmark.runs.trained import load_run
    from benchmark.serving.batcher import Batching
    from benchmark.serving.request import Limits
    from benchmark.serving.runs import scorer_of
    from benchmark.serving.server import create_app
    from benchmark.serving.server import serve as listen

    torch.set_num_threads(threads)
    limits = Limits(waiting=waiting, wait=max_wait, history=max_history, candidates=max_candidates)
    scorer = scorer_of(load_run(run, data_dir=data_dir))
    output.say(", ".join(f"{name} {value}" for name, value in scorer.about.items()))
    app = create_app(scorer, limits, Batching(window / 1e3, batch_requests, batch_candidates))
    listen(app, host, port, limits, output.say)


def load_test(
    rate: Annotated[float, typer.Option(min=0.1, help="Requests a second; with --p99 the highest that is tried.")] = 50,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Of a test, after 2 that are not counted; with --p99 at least.")
    ] = 10.0,
    p99: Annotated[
        float | None,
        typer.Option(min=0, help="Find the largest rate with a 99th percentile of at most so many milliseconds."),
    ] = None,
    history: Annotated[int, typer.Option(min=0, help="Behaviours in a request.")] = 50,
    candidates: Annotated[int, typer.Option(min=1, help="Candidates in a request.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and requests.")] = 0,
    malformed: Annotated[
        int | None, typer.Option(min=1, help="Instead send so many malformed and hostile messages, and count answers.")
    ] = None,
    url: Annotated[str, typer.Option(help="Address of a server.")] = "http://127.0.0.1:8000",
    as_json: Json = False,
) -> None:
    """Send requests to a server at times drawn beforehand (Poisson), and print latencies from the scheduled times.

    With --p99 a test lasts until 25 requests are due, and a rate that fails is tried once more, with other arrivals.
    With --malformed a reply other than 200, or 4xx with a reason, ends the test and is shown.

    Example: dien-bench load-test --rate 100 --candidates 200
    """
    output = Output(as_json=as_json)
    require("serving", "aiohttp")
    from benchmark.serving.load import Load, Measured, fields_of, holds_once, largest_rate, over_http, random_bodies

    fields = asyncio.run(fields_of(url))
    if malformed is not None:
        from benchmark.bench.serving.malformed import send_malformed

        at = urlsplit(url)
        found = dict(sorted(send_malformed(malformed, seed, at.hostname or "127.0.0.1", at.port or 80).items()))
        output.say(", ".join(f"{status}: {count:,}" for status, count in found.items()))
        output.result(found)
        return
    bodies = random_bodies(fields, history, candidates, seed=seed)
    tests: list[dict[Any, Any]] = []

    def measured(at: float) -> Measured:
        load = Load(at, seconds, seed=seed + len(tests))  # a second try is one with other arrivals
        found = asyncio.run(over_http(load if p99 is None else load.lasting(), url, bodies))
        figures = {"offered": found.offered, "achieved": found.achieved, **found.latency, "late_ms": found.late_ms}
        shown = {name: round(value, 2) for name, value in figures.items() if value == value}
        tests.append({**dict[Any, Any](found.counts), **shown})
        output.say(", ".join(f"{name} {value}" for name, value in tests[-1].items()))
        return found

    if p99 is None:
        measured(rate)
        output.result(tests[0])
        return
    bound = p99
    largest = largest_rate(holds_once(lambda at: measured(at).within(bound)), rate / 64, rate)
    what = f"p99 <= {p99:g} ms and nothing refused"
    if not largest:
        output.say(f"no rate has {what}, down to {rate / 64:.2g} requests a second")
    elif largest == rate:
        output.say(f"{what} still at {rate:g} requests a second, the highest that is tried: give a higher --rate")
    else:
        output.say(f"largest rate with {what}: {largest:.1f} requests a second")
    output.result({"largest_rate": largest, "p99_ms": p99, "tests": tests})


def abtest(
    dataset: Annotated[str, typer.Option(help="A simulated market: market or market-large.")] = "market",
    models: Annotated[str, typer.Option(help="The arms; base-model is the control.")] = ARMS,
    seeds: Annotated[str, typer.Option(help="Training seeds, separated by spaces or commas.")] = "0 1 2 3 4",
    candidates: Annotated[int, typer.Option(min=2, max=100, help="Ads of a request.")] = 20,
    spread: Annotated[float, typer.Option(min=0, help="Of the logarithm of bids.")] = 0.5,
    repeats: Annotated[int, typer.Option(min=1, help="How often each page of the day asks.")] = 5,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps of the runs.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs side by side, where some have to be trained.")] = 2,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Put trained runs into a simulated A/B test, and write OUT/table5.md, .csv and a figure. Trains what is missing.

    Example: dien-bench abtest --seeds "0 1"
    """
    output, arms = Output(as_json=as_json, quiet=quiet), names_of(models)
    from datamodules.sources.market import SIZE_OF

    if dataset not in SIZE_OF:
        raise UserError(f"an A/B test needs a market whose truth is known ({', '.join(SIZE_OF)}), got {dataset!r}")
    if "base-model" not in arms:
        raise UserError(f"the arms {models!r} have no control: name base-model among them")
    import numpy as np

    from benchmark.abtest.candidates import before_the_test, from_market, logged_day, scorer_of_candidates
    from benchmark.abtest.decision import decision
    from benchmark.abtest.figure import figure_table5
    from benchmark.abtest.sensitivity import CANDIDATES
    from benchmark.abtest.study import abtest_of_runs
    from benchmark.abtest.table import table5
    from benchmark.executors.sweep import sweep
    from benchmark.report.render import write_table
    from benchmark.runs.config import RunConfig
    from benchmark.runs.trained import load_run
    from datamodules.datasets import prepare_dataset
    from datamodules.impressions_file import load_impressions
    from datamodules.sources.market import make_world

    wanted = [
        RunConfig(
            dataset,
            "next-day",
            model,
            "official",
            seed,
            steps=steps,
            data_dir=str(data_dir),
            out=str(out),
        )
        for seed in seeds_of(seeds)
        for model in arms
    ]
    for config in wanted:
        config.check()
    log = load_impressions(prepare_dataset(dataset, data_dir, report=output.say))
    sweep(wanted, workers=workers, quiet=quiet)
    output.say("scoring candidates")
    runs = {model: [load_run(each.folder()) for each in wanted if each.model == model] for model in arms}
    world = make_world(SIZE_OF[dataset])
    workload = from_market(world, log, candidates=candidates, repeats=repeats)
    wide = None if candidates >= CANDIDATES[-1] else from_market(world, log, candidates=CANDIDATES[-1], every=2)
    users = sorted(set(workload.user.tolist()))
    found = abtest_of_runs(
        runs,
        scorer_of_candidates({"campaign": world.goods.campaign}),
        workload,
        logged_day(log, 1),
        logged_day(log, 0),
        spread=spread,
        covariates=before_the_test(log, np.array(users)),
        wide=wide,
    )
    made = table5(found.calibrated, found.as_predicted, found.offline, found.budgets)
    output.show(made)
    (auc,) = (figures for figures, agreement in found.offline if agreement.metric == "AUC")
    summary = decision(found.calibrated, auc)
    output.show(summary)
    files = [*write_table(made, out, "table5"), *write_table(summary, out, "table5-decision")]
    files += figure_table5(found.calibrated, out / "table5")
    output.written(files)
    output.advise(command("dien-bench", "table", "3", "--datasets", dataset, "--out", out))
    header, *lines = made.csv_rows
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    output.result({"title": made.title, "rows": rows, "files": files})
