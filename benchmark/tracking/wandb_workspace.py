"""A W&B workspace for the runs of a project: what they log, and which panels show it, over what, grouped how.

The panels are described in one list, which `dien-bench wandb-workspace` prints, or makes through wandb-workspaces.
"""

from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

from benchmark.tracking.trackers import AXIS, reason_of
from benchmark.tracking.wandb_login import check_server, wandb_login
from datamodules.errors import UserError

GROUP = "Group"  # W&B's name for data set/protocol/row: seeds of one row share it
FILTER = "JobType = 'train'"  # without the runs that hold tables
COLUMNS = ("auc", "auc_last", "auc_test", "logloss", "best_step", "parameters", "samples_per_second")


class Panel(NamedTuple):
    """One panel; lines are means over a group's seeds with their standard deviation as a band."""

    section: str
    title: str
    kind: Literal[
        "line",  # curves over steps
        "bar",  # an outcome, a bar a group
        "table",  # what was logged as a W&B Table
    ]
    values: tuple[str, ...]  # names of series, of outcomes, or of one table


PANELS = (
    Panel("Loss", "Whole loss", "line", ("loss",)),
    Panel("Loss", "Target loss", "line", ("target_loss",)),
    Panel("Loss", "Auxiliary loss", "line", ("auxiliary_loss",)),
    Panel("AUC", "Test AUC at each evaluation", "line", ("test_auc",)),
    Panel("AUC", "Validation AUC at each evaluation", "line", ("validation_auc",)),
    Panel("AUC", "Test log loss at each evaluation", "line", ("test_logloss",)),
    Panel("Outcome", "Test AUC of the reported checkpoint", "bar", ("auc",)),
    Panel("Outcome", "Test AUC at the last step", "bar", ("auc_last",)),
    Panel("Outcome", "Samples a second", "bar", ("samples_per_second",)),
    Panel("Tables", "Table 4", "table", ("table4",)),
    Panel("Tables", "Table 2", "table", ("table2",)),
)


def describe() -> str:
    """What to set by hand, in the order of W&B's own menus."""
    lines = [
        f"filter runs by {FILTER}, group them by {GROUP}; pin the columns {', '.join(COLUMNS)}",
        f"x axis of every line: {AXIS}; lines: mean of a group, standard deviation as the band",
    ]
    for section in dict.fromkeys(panel.section for panel in PANELS):
        lines += ["", f"section {section}"]
        lines += [f"  {p.kind:<5}  {', '.join(p.values):<18}  {p.title}" for p in PANELS if p.section == section]
    return "\n".join(lines)


def workspace(entity: str, project: str, name: str) -> Any:
    """Return the workspace as an object of wandb-workspaces, not saved yet.

    Raises `UserError` where that package is not installed.
    """
    if not find_spec("wandb_workspaces"):
        raise UserError(
            "making a workspace needs wandb-workspaces, which is not installed: pip install wandb-workspaces. "
            "Without --create the panels are only described"
        )
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    grouped = {"groupby": GROUP, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    make = {
        "line": lambda panel: wr.LinePlot(title=panel.title, x=AXIS, y=list(panel.values), **grouped),
        "bar": lambda panel: wr.BarPlot(
            title=panel.title, metrics=[wr.SummaryMetric(value) for value in panel.values], **grouped
        ),
        "table": lambda panel: wr.WeavePanelSummaryTable(table_name=panel.values[0]),
    }
    sections = [
        ws.Section(section, [make[p.kind](p) for p in PANELS if p.section == section], is_open=True)
        for section in dict.fromkeys(panel.section for panel in PANELS)
    ]
    runs = ws.RunsetSettings(
        filters=FILTER, groupby=[ws.Metric(GROUP)], pinned_columns=[f"summary:{column}" for column in COLUMNS]
    )
    settings = ws.WorkspaceSettings(x_axis=AXIS)
    return ws.Workspace(entity, project, name, sections, settings=settings, runset_settings=runs)


def create(entity: str | None, project: str, name: str) -> str:
    """Save the workspace on the W&B server and return its address.

    Raises `UserError` without a login, without the package, and where the server does not answer or refuses.
    """
    import wandb

    try:
        login = wandb_login()
        if login is None:
            raise UserError("no W&B login is found, and a workspace lies on its server: wandb login, then this again")
        check_server(login)
        owner = entity or wandb.Api().default_entity
        if not owner:
            raise UserError("W&B names no user or team for this key: give one with --entity")
        made = workspace(owner, project, name)
        made.save()
    except (wandb.errors.Error, ValueError, OSError) as error:
        raise UserError(
            f"W&B did not take the workspace for {entity or 'your entity'}/{project} ({reason_of(error)}). A project "
            "exists once its first run is uploaded: wandb sync runs/wandb/offline-run-*"
        ) from error
    return str(made.url)
