"""`dien-bench figure`: learning curves of finished runs, and what one trained model makes of one history.

`dien-bench wandb-workspace` stands here too: panels for the runs of a W&B project.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.cli.options import (
    DataDir,
    Json,
    Out,
    ProtocolName,
    VariantName,
    check_names,
    command,
    completes,
    completes_last,
    dataset_names,
    model_names,
    names_of,
)
from benchmark.cli.output import Output
from benchmark.records import paper
from datamodules.errors import UserError, unknown_name

NUMBERS = ("2", "3", "auc", "growth")


def figure(
    number: Annotated[
        str,
        typer.Argument(
            help="2: losses over steps; 3: evolving interests of one history; auc: test AUC of every row; growth: AUC "
            "over the amount of data, of the sizes of the market.",
            autocompletion=completes(lambda: NUMBERS),
        ),
    ],
    datasets: Annotated[
        str | None,
        typer.Option(
            help="Names, separated by spaces or commas; none: all that OUT has under the protocol and variant.",
            autocompletion=completes_last(dataset_names),
        ),
    ] = None,
    protocol: ProtocolName = "arxiv-v1",
    variant: VariantName = "official",
    model: Annotated[
        str,
        typer.Option(help="The model whose losses figure 2 shows.", autocompletion=completes(model_names)),
    ] = "dien",
    run: Annotated[
        Path | None,
        typer.Option(help="Figure 3: folder of a row of dien, augru, agru or aigru, or of a seed."),
    ] = None,
    user: Annotated[
        int | None,
        typer.Option(help="Figure 3: whose history; none: one of categories, like the paper's, by a rule."),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            help="Figure 3: categories, oldest first, in place of a user: 'Speakers,Headphones' or 'Bags, Packs;Tents'."
        ),
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="Figure 3: categories of targets, likewise; 'none' is equal attention.")
    ] = None,
    logger: Annotated[
        Literal["wandb", "tensorboard", "csv"], typer.Option(help="Where it goes besides OUT; csv: nowhere.")
    ] = "csv",
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    as_json: Json = False,
) -> None:
    """Draw a figure from the runs in OUT, as PNG and SVG; figure 3 from the weights of the seeds of a row.

    Example: dien-bench figure 2 --datasets "sports beauty"

    Example: dien-bench figure 3 --run runs/sports/clean/dien-official
    """
    if number not in NUMBERS:
        raise unknown_name("figure", number, NUMBERS)
    if number == "3":
        if run is None:
            raise UserError("figure 3 shows a trained model: name the folder of its row, --run runs/.../dien-official")
        drawn = _figure3(run, user, history, targets, out, data_dir)
    elif number == "growth":
        drawn = _growth(out)
    else:
        drawn = _learning_curves(
            number, names_of(datasets) if datasets else None, protocol, variant, model, out, data_dir
        )
    output = Output(as_json=as_json)
    output.written(drawn)
    if logger != "csv":
        from benchmark.tracking.tables import how_to_look, log_figures
        from benchmark.tracking.trackers import check_tracker

        check_tracker(logger)
        tags = [] if number == "3" else [protocol, variant]
        log_figures(drawn, drawn[0].stem, tracker=logger, out=out, tags=tags, say=output.say)
        output.advise(*how_to_look(logger, out))
    output.result({"files": drawn})


def _learning_curves(
    number: str, names: list[str] | None, protocol: str, variant: str, model: str, out: Path, data_dir: Path
) -> list[Path]:
    """Figure 2, or the AUC of every row."""
    from baselines import model_label
    from benchmark.records.record import Record, read_records
    from benchmark.records.results import curves_of
    from benchmark.report.learning_curves import figure2, figure_auc
    from benchmark.runs.identity import check_files

    check_names(names or [], protocol, data_dir)
    found = read_records(out, protocol=protocol, variant=variant)
    names = names or sorted({record.dataset for record in found})
    if not names:
        raise UserError(f"{out} has no run under {protocol}, {variant}: train one, or name another protocol or variant")
    check_files(found, [model])
    finished: dict[str, dict[str, list[Record]]] = {name: {} for name in names}
    for record in sorted(found, key=lambda record: (paper.order(record.model), record.seed)):
        if record.dataset in finished and record.status == "finished":
            finished[record.dataset].setdefault(record.model, []).append(record)
    if number == "2":
        runs = {name: list(map(curves_of, rows.get(model_label(model), []))) for name, rows in finished.items()}
        if lacking := " ".join(name for name, seeds in runs.items() if not seeds):
            options = {"datasets": lacking, "protocol": protocol, "variant": variant, "models": model, "out": out}
            train = command("dien-bench", "run", *(word for name, v in options.items() for word in (f"--{name}", v)))
            raise UserError(
                f"{out} has no finished run of {model} under {protocol}, variant {variant}, on {lacking}. "
                f"Train it: {train}"
            )
        return list(figure2(runs, out / "figure2", model=model))
    return [
        path
        for name, rows in finished.items()
        for curves in [{row: list(map(curves_of, records)) for row, records in rows.items()}]
        for path in figure_auc(curves, out / f"auc-{name}-{protocol}-{variant}", dataset=name)
    ]


def _growth(out: Path) -> list[Path]:
    """The sizes of one market, as a table and a figure."""
    from benchmark.analysis.probes import ORACLE, read_probes
    from benchmark.records.record import read_records
    from benchmark.report.growth import GROWTH, figure_growth, growth_table, sizes_of
    from benchmark.report.render import write_table

    sizes = sizes_of(read_records(out, protocol="next-day", variant="official"), GROWTH)
    probes = read_probes([out], sizes[-1].dataset, "next-day") if sizes else None
    found = probes and probes.named(ORACLE)
    oracle = found.auc if found else None
    return [*write_table(growth_table(sizes, oracle), out, "growth"), *figure_growth(sizes, oracle, out / "growth")]


def _figure3(
    run: Path, user: int | None, history: str | None, targets: str | None, out: Path, data_dir: Path
) -> list[Path]:
    """Figure 3 of the seeds of one row: of a user, or of a history made of categories."""
    from benchmark.analysis.emphasis import attention_of, emphasis
    from benchmark.analysis.evolution import Catalogue, choose, split_names, trajectories
    from benchmark.records.record import read_records
    from benchmark.report.figure3 import Seeds, figure3, figure3_command
    from benchmark.runs.trained import load_model
    from datamodules.interactions import load_category_names
    from datamodules.samples.file import prepare_samples

    if user is not None and history is not None:
        raise UserError("give --user or --history, not both: a history is a user's or made of categories")
    records = [record for record in read_records(run) if record.status == "finished"]
    rows = {(r.dataset, r.protocol, r.model, r.variant): r for r in records}
    if len(rows) != 1:
        raise UserError(f"{run} holds runs of {len(rows)} rows, expected one: name the folder of a row, or of a seed")
    (record,) = rows.values()
    samples = prepare_samples(record.dataset, record.protocol, data_dir)
    nets = [load_model(one, samples) for one in records]
    catalogue = Catalogue(samples, load_category_names(data_dir / record.dataset))
    shown, aims = choose(catalogue, user, split_names(history), split_names(targets))
    runs = [trajectories(net, samples, shown.items, aims) for net in nets]
    place = [record.dataset, record.protocol, f"{record.model}-{record.variant}"]
    place += [f"seed-{record.seed}"] if len(records) == 1 else []
    return list(
        figure3(
            record,
            shown,
            Seeds([one.seed for one in records], runs),
            out / f"figure3-{'-'.join(place)}",
            emphasis=emphasis([attention_of(net, samples) for net in nets]),
            command=figure3_command("/".join(["runs", *place]), user, history, targets),
        )
    )


def wandb_workspace(
    create: Annotated[
        bool, typer.Option("--create", help="Make it on the server; needs a login and the package wandb-workspaces.")
    ] = False,
    project: Annotated[
        str | None, typer.Option(help="The project of the runs.", show_default="WANDB_PROJECT, or dien-bench")
    ] = None,
    entity: Annotated[str | None, typer.Option(help="User or team; your own if not given.")] = None,
    name: Annotated[str, typer.Option(help="The workspace's name.")] = "Rows over seeds",
) -> None:
    """Describe the panels that show runs in Weights & Biases, or make them there.

    Example: dien-bench wandb-workspace --create --project dien-bench
    """
    from benchmark.tracking import wandb_workspace as workspace

    output = Output()
    if create:
        made = workspace.create(entity, project or os.environ.get("WANDB_PROJECT", "dien-bench"), name)
        output.say(made)
        return
    output.say(workspace.describe())
    output.advise("dien-bench wandb-workspace --create  # makes them, after wandb login")
