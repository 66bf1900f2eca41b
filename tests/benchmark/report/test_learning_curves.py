"""Figures from metrics.csv: both formats, the same bytes each time, sparse columns, files not to be drawn."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from typer.testing import CliRunner

from baselines import file_hash, model_label
from benchmark.cli.app import app
from benchmark.records.curves import Curve, Curves, read_metrics
from benchmark.report import learning_curves as figures
from benchmark.report.learning_curves import SETTINGS, figure2, figure_auc, save_figure, smooth
from datamodules.errors import UserError
from tests.benchmark.boards import change, committed, export

LOSSES = "step,loss,target_loss,auxiliary_loss,learning_rate"
HEADER = f"{LOSSES},test_auc,test_logloss,validation_auc,validation_logloss"


def metrics(path: Path, *, seed: int = 0, last: int = 400, auxiliary: bool = True) -> Curves:
    """A made-up run: losses every 20 steps, test AUC every 100 steps on lines of their own."""
    generator = np.random.default_rng(seed)
    lines = [HEADER]
    for step in range(20, last + 1, 20):
        target, aux = 0.34 - step / 5000 + generator.normal(0, 0.01), 0.69 - step / 2000
        lines.append(f"{step},{target + aux:.6f},{target:.6f},{f'{aux:.6f}' if auxiliary else ''},0.001,,,,")
        if step % 100 == 0:
            lines.append(f"{step},,,,,{0.6 + step / 2000 + generator.normal(0, 0.002):.6f},0.6,,")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return read_metrics(path)


def seeds(folder: Path, count: int = 2) -> list[Curves]:
    return [metrics(folder / f"seed-{n}" / "metrics.csv", seed=n) for n in range(count)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The lines that a figure holds when it is saved: label -> (x, y) of the last axes that has the label."""
    lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    original = Axes.plot

    def plot(self: Axes, x: np.ndarray, y: np.ndarray, **options: Any) -> object:
        lines[str(options["label"])] = (np.asarray(x), np.asarray(y))
        return original(self, x, y, **options)

    monkeypatch.setattr(Axes, "plot", plot)
    return lines


def test_figure_2_shows_three_losses_of_every_data_set(
    tmp_path: Path, drawn: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    runs = {"electronics": seeds(tmp_path / "e", 3), "books": seeds(tmp_path / "b", 1)}
    png, svg = figure2(runs, tmp_path / "out" / "figure2")
    assert (png, svg) == (tmp_path / "out/figure2.png", tmp_path / "out/figure2.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.fromstring(svg.read_text()).tag == "{http://www.w3.org/2000/svg}svg"
    assert list(drawn) == ["target loss $L_{target}$", "auxiliary loss $L_{aux}$", "whole loss $L$"]
    steps, loss = drawn["whole loss $L$"]
    assert steps.tolist() == list(range(20, 401, 20))
    assert loss == pytest.approx(runs["books"][0].curve("loss").values)


def test_the_line_is_the_mean_of_the_seeds_at_their_common_steps(
    tmp_path: Path, drawn: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    paths = [metrics(tmp_path / "a.csv", seed=1), metrics(tmp_path / "b.csv", seed=2, last=300)]
    figure_auc({"dien": paths}, tmp_path / "auc", dataset="sports", formats=["png"])
    steps, mean = drawn["DIEN (2)"]
    assert steps.tolist() == [100, 200, 300]
    first, second = (run.curve("test_auc").values for run in paths)
    assert mean == pytest.approx((first[:3] + second) / 2)


def test_the_auc_axis_leaves_out_the_rise_from_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bottoms: list[float] = []
    monkeypatch.setattr(Axes, "set_ylim", lambda self, bottom: bottoms.append(bottom))
    path = tmp_path / "metrics.csv"
    path.write_text("step,test_auc\n100,0.5\n200,0.7\n1900,0.9\n2000,0.65\n")
    figure_auc({"dien": [read_metrics(path)]}, tmp_path / "auc", dataset="sports", formats=["png"])
    assert bottoms == [pytest.approx(0.645)]


def test_the_picture_is_white_and_not_empty(tmp_path: Path) -> None:
    (png,) = figure_auc({"dien": seeds(tmp_path)}, tmp_path / "auc", dataset="sports", formats=["png"])
    pixels = matplotlib.image.imread(io.BytesIO(png.read_bytes()), format="png")
    assert (pixels[0, 0] == 1).all()
    assert 0.5 < (pixels == 1).all(axis=2).mean() < 0.99


@pytest.mark.parametrize("count", [1, 4, 5])
def test_any_number_of_panels(tmp_path: Path, count: int) -> None:
    paths = seeds(tmp_path, 1)
    (png,) = figure2({f"data-{n}": paths for n in range(count)}, tmp_path / "figure2", formats=["png"])
    assert png.stat().st_size > 10_000


def test_the_same_curves_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = seeds(tmp_path)

    def draw(folder: Path) -> list[bytes]:
        losses = figure2({"sports": paths}, folder / "figure2")
        aucs = figure_auc({"dien": paths, "din": paths}, folder / "auc", dataset="sports")
        return [path.read_bytes() for path in losses + aucs]

    first = draw(tmp_path / "first")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 30}):
        assert draw(tmp_path / "second") == first
    assert b"<dc:date>" not in first[1] + first[3]


def test_the_last_bits_of_a_position_change_no_byte(tmp_path: Path) -> None:
    """Matplotlib names clip paths by positions, and processors compute their last bits differently."""

    def draw(width: float, stem: str) -> str:
        with style.context(["default", SETTINGS]):
            figure = Figure(figsize=(4, 3))
            for left in (0.1, 0.6):
                figure.add_axes((left, 0.1, width, 0.8)).plot([0, 1], [0, 1])
            return save_figure(figure, tmp_path / stem, ("svg",))[0].read_text()

    svg = draw(0.3, "one")
    assert draw(0.3 + 1e-13, "other") == svg
    clips = re.findall(r'<clipPath id="(.*?)"', svg)
    assert len(clips) == len(set(clips)) == 2
    assert set(re.findall(r"url\(#(.*?)\)", svg)) == set(clips)


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    figure2({"sports": seeds(tmp_path)}, tmp_path / "figure2")
    assert dict(matplotlib.rcParams) == before


def test_a_stem_with_a_dot_stays_whole(tmp_path: Path) -> None:
    png, svg = figure2({"sports": seeds(tmp_path)}, tmp_path / "lr-0.001")
    assert (png.name, svg.name) == ("lr-0.001.png", "lr-0.001.svg")


def test_hostile_names_are_drawn_as_text(tmp_path: Path) -> None:
    paths = seeds(tmp_path)
    names = ["_hidden", r"$\undefined$", "$", "a\nb", "<&>"]
    png, _ = figure_auc({name: paths for name in names}, tmp_path / "auc", dataset="$x$ {")
    figure2({r"$\frac{$": paths}, tmp_path / "figure2", model="_$a$")
    assert png.exists()


@pytest.mark.parametrize("late", ["nan", "inf", "-inf", "1e308", "-1e308"])
def test_a_run_that_diverged(tmp_path: Path, drawn: dict[str, tuple[np.ndarray, np.ndarray]], late: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        f"step,loss,target_loss,auxiliary_loss,test_auc\n20,1,{late},0.7,{late}\n40,{late},{late},0.6,{late}\n"
    )
    figure2({"sports": [read_metrics(path)] * 2}, tmp_path / "figure2")
    assert np.isnan(drawn["whole loss $L$"][1]).tolist() == [False, True]
    figure_auc({"dien": [read_metrics(path)]}, tmp_path / "auc", dataset="sports")


def test_a_single_step(tmp_path: Path) -> None:
    (png,) = figure2({"sports": [metrics(tmp_path / "short.csv", last=20)]}, tmp_path / "short", formats=["png"])
    assert png.stat().st_size > 10_000


def test_every_row_has_a_look_of_its_own() -> None:
    looks = [*figures.ROW_STYLES.values(), *figures.OTHER_STYLES]
    assert len(set(looks)) == len(looks)


def test_smoothing_is_a_trailing_mean() -> None:
    curve = Curve(np.array([20.0, 40.0, 60.0, 80.0]), np.array([4.0, 2.0, 6.0, 1.0]))
    assert smooth(curve, 1) is curve
    smoothed = smooth(curve, 3)
    assert smoothed.steps.tolist() == [60, 80]
    assert smoothed.values.tolist() == [4, 3]
    for window in (0, -1, 5):
        with pytest.raises(UserError, match=f"from 1 to the 4 logged points, got {window}"):
            smooth(curve, window)


def test_sparse_columns(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,test_auc\n20,0.5,\n40,0.25,0.75\n60\n")
    assert read_metrics(path).curve("loss").steps.tolist() == [20, 40]
    assert read_metrics(path).curve("test_auc").values.tolist() == [0.75]


BROKEN = {
    "step,target_loss\n20,1\n": "lacks the column loss, found step, target_loss",
    "loss,target_loss,auxiliary_loss\n1,1,1\n": "lacks the column step",
    "": "lacks the column step, found nothing",
    "step,loss,target_loss,auxiliary_loss\n": "has no rows",
    "step,loss,target_loss,auxiliary_loss\n20,,1,1\n": "has no value in its column loss",
    "step,loss,target_loss,auxiliary_loss\n20,1,1,x\n": "line 2: auxiliary_loss is 'x', expected a number",
    "step,loss,target_loss,auxiliary_loss\n20,x,1,1\n": "line 2: loss is 'x', expected a number",
    "step,loss,target_loss,auxiliary_loss\n,1,1,1\n": "line 2: step is '', expected a number",
    "step,loss,target_loss,auxiliary_loss\n20,1,1,1\n20,1,1,1\n": "line 3: step 20 follows 20",
    "step,loss,target_loss,auxiliary_loss\nnan,1,1,1\n": "line 2: step nan follows -1",
    "step,loss,target_loss,auxiliary_loss\n20,1,1,1\ninf,1,1,1\n": "line 3: step inf follows 20",
    "step,loss,target_loss,auxiliary_loss\n1e300,1,1,1\n": "line 2: step 1e\\+300 follows -1",
}


@pytest.mark.parametrize(("text", "message"), BROKEN.items())
def test_files_that_cannot_be_drawn_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        figure2({"sports": [read_metrics(path)]}, tmp_path / "figure2")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "figure2.png").exists()


def test_a_model_without_further_losses_has_one_curve(
    tmp_path: Path, drawn: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    curves = metrics(tmp_path / "metrics.csv", auxiliary=False)
    figure2({"sports": [curves]}, tmp_path / "figure2", model="din", formats=["png"])
    assert list(drawn) == ["whole loss $L$"]
    assert drawn["whole loss $L$"][1] == pytest.approx(curves.curve("loss").values)


def test_a_loss_of_a_model_s_own_has_its_curve(tmp_path: Path, drawn: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    own = tmp_path / "own.csv"
    own.write_text("step,loss,target_loss,margin_loss,test_logloss\n20,3,1,2,\n40,2,1,1,\n40.5,,,,0.7\n")
    plain = metrics(tmp_path / "plain.csv", auxiliary=False)
    figure2({"sports": [read_metrics(own)], "beauty": [plain]}, tmp_path / "figure2", model="mine", formats=["png"])
    assert set(drawn) == {"margin loss", "target loss $L_{target}$", "whole loss $L$"}
    assert drawn["margin loss"][1].tolist() == [2, 1]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b'step,loss\n20,"' + b"x" * 200_000])
def test_unreadable_files(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*metrics\.csv"):
        figure2({"sports": [read_metrics(path)]}, tmp_path / "figure2")


def test_seeds_without_a_common_step(tmp_path: Path) -> None:
    for name, step in (("a.csv", 20), ("b.csv", 30)):
        (tmp_path / name).write_text(f"step,test_auc\n{step},0.5\n")
    runs = [read_metrics(tmp_path / name) for name in ("a.csv", "b.csv")]
    with pytest.raises(UserError, match=r"b\.csv has no step in common with .*a\.csv"):
        figure_auc({"din": runs}, tmp_path / "auc", dataset="sports")


def test_what_to_train_is_said_for_the_model_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run of din .*dien-bench run --datasets sports --model din$"):
        figure2({"sports": []}, tmp_path / "figure2", model="din")


@pytest.mark.parametrize("runs", [{}, {"sports": []}])
def test_nothing_to_draw(tmp_path: Path, runs: dict[str, list[Curves]]) -> None:
    draw: list[Callable[[], object]] = [
        lambda: figure2(runs, tmp_path / "figure2"),
        lambda: figure_auc(runs, tmp_path / "auc", dataset="sports"),
    ]
    for call in draw:
        with pytest.raises(UserError, match="to draw"):
            call()


@pytest.mark.parametrize("own", [False, True])
def test_figure_2_of_any_model_on_the_command_line(tmp_path: Path, own: bool) -> None:
    """A row without an auxiliary loss, and a file of one's own, whose runs go by the name of its class."""
    (tmp_path / "mine.py").write_text("class Mine: ...\n", encoding="utf-8")
    model = f"{tmp_path / 'mine.py'}:Mine" if own else "base-model"
    name = model_label(model)
    place = Path("tafeng/arxiv-v1/base-model-official/seed-0")
    folder = export(place, tmp_path / "tafeng" / "arxiv-v1" / f"{name}-official" / "seed-0")
    change(folder, model=name, settings=committed()[place].settings | file_hash(model))
    other = export(place.parents[1] / "augru-official/seed-0", folder.parents[1] / "augru-official" / "seed-0")
    (other / "metrics.csv").write_bytes(b"\xff")  # of a row that is not drawn
    words = ["figure", "2", "--datasets", "tafeng", "--model", model, "--out", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    assert (tmp_path / "figure2.svg").is_file()
