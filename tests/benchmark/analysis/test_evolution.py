"""Figure 3: attention and states of one history, choices by rule, the projection, and what the command says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from sklearn.decomposition import PCA

from baselines.base_model import BaseModel
from baselines.dien import DIEN
from benchmark.analysis.comparison import Interval
from benchmark.analysis.emphasis import Attention, Emphasis, attention_of, emphasis
from benchmark.analysis.evolution import (
    Catalogue,
    Target,
    choose,
    history_of,
    paper_like,
    trajectories,
)
from benchmark.report.figure3 import Seeds, caption, figure3, figure3_command, project
from datamodules.batches import EvaluationBatches
from datamodules.errors import UserError
from datamodules.interactions import load_category_names
from datamodules.packing import packing_of
from datamodules.samples import Samples
from datamodules.samples.file import prepare_samples
from datamodules.samples.vocabulary import vocabulary
from tests.benchmark.boards import committed


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def samples(data_dir: Path) -> Samples:
    return prepare_samples("generated", "aaai-2019", data_dir)


@pytest.fixture(scope="module")
def catalogue(samples: Samples, data_dir: Path) -> Catalogue:
    return Catalogue(samples, load_category_names(data_dir / "generated"))


def dien(samples: Samples, **options: object) -> DIEN:
    torch.manual_seed(0)
    return DIEN(vocabulary(samples).schema, **options).eval()  # type: ignore[arg-type]


def test_attention_and_states_are_those_of_the_test_batches(samples: Samples) -> None:
    model = dien(samples)
    batch = EvaluationBatches(samples, samples.test)[0].batches()[0]
    with torch.inference_mode():
        expected = model.explain(batch)
    place = EvaluationBatches(samples, samples.test).order[0]
    items = samples.items[samples.test.begin[place] : samples.test.end[place]].tolist()
    (found,) = trajectories(model, samples, items, [Target(int(samples.test.item[place]), "its own")])
    np.testing.assert_allclose(found.attention, expected.attention[0, : len(items)], atol=1e-6)
    np.testing.assert_allclose(found.states, expected.states[0, : len(items)], atol=1e-6)


@pytest.mark.parametrize(("variant", "evolution"), [("official", "augru"), ("paper", "augru"), ("paper", "aigru")])
def test_without_a_target_attention_is_equal(samples: Samples, variant: str, evolution: str) -> None:
    model = dien(samples, variant=variant, evolution=evolution)
    own, items = model.attention, [3, 5, 8, 13]
    found = trajectories(model, samples, items, [Target(2, "a"), Target(None, "none"), Target(9, "b")])
    np.testing.assert_allclose(found[1].attention, 0.25, atol=1e-7)
    assert model.attention is own
    # The states by the equations: interests from the model, the second recurrence step by step.
    layers = model.evolver
    with torch.inference_mode():
        ids = torch.tensor(items)
        tables, kinds = model.embedding.tables, torch.from_numpy(samples.item_category[ids].astype(np.int64))
        rows = torch.cat([tables["item"](ids), tables["category"](kinds)], 1)
        interests = model.extractor(model.extractor.project(rows), packing_of(np.array([4]), 4))
        h, size = torch.zeros(36), 36
        for t, interest in enumerate(interests):
            x = layers.input_weight @ (interest * 0.25 if evolution == "aigru" else interest) + layers.bias
            w_u, w_r, w_c = layers.state_weight.split(size, 1)
            u, r = torch.sigmoid(x[:size] + h @ w_u), torch.sigmoid(x[size : 2 * size] + h @ w_r)
            c = torch.tanh(x[2 * size :] + ((r * h) @ w_c if variant == "official" else r * (h @ w_c)))
            z = u if evolution == "aigru" else 0.25 * u if variant == "paper" else 0.25 + 0.75 * u
            h = h + z * (c - h)
            np.testing.assert_allclose(found[1].states[t], h, atol=1e-5)
    assert np.abs(found[0].attention - found[2].attention).max() > 1e-6  # targets do have a say


def test_a_model_without_states_is_refused(samples: Samples) -> None:
    model = BaseModel(vocabulary(samples).schema)
    with pytest.raises(UserError, match="BaseModel has no attention"):
        trajectories(model.eval(), samples, [1], [Target(2, "a")])


def test_categories_stand_for_their_most_reviewed_items(catalogue: Catalogue, samples: Samples) -> None:
    name = catalogue.names[4]
    history = history_of(catalogue, [name, catalogue.names[0], name.upper()])
    reviews = {
        item: int((samples.pool == item).sum())
        for item in range(1, samples.item_count + 1)
        if samples.item_category[item] == 5
    }
    first, second = sorted(reviews, key=lambda item: (-reviews[item], item))[:2]
    assert [history.items[0], history.items[2]] == [first, second]
    assert history.names == [name, catalogue.names[0], name]
    shown, targets = choose(catalogue, None, [name], [name, "None"])
    assert shown.items == [first]
    assert targets == [Target(second, name), Target(None, "none")]  # not the item of the history


def test_an_unknown_category_is_told_with_close_ones(catalogue: Catalogue) -> None:
    name = catalogue.names[4]
    with pytest.raises(UserError, match=f"did you mean.*{name}"):
        history_of(catalogue, [name[:-1] + "x" + name[-1:]])


def test_lift_is_that_of_counting(catalogue: Catalogue, samples: Samples) -> None:
    users = [
        set(samples.item_category[samples.items[a:b]])
        for a, b in zip(samples.offsets, samples.offsets[1:], strict=False)
    ]
    lift = catalogue.lift(catalogue.names[2])
    for other in (1, 7, 12):
        both = sum({3, other} <= mine for mine in users)
        expected = sum(3 in mine for mine in users) * sum(other in mine for mine in users) / len(users)
        assert lift[other] == pytest.approx(both / expected)
    names = catalogue.names[:3]
    mean = np.mean([catalogue.lift(name) for name in names], axis=0)
    assert catalogue.unrelated(names) == catalogue.names[3 + int(mean[4:].argmin())]


def test_the_history_chosen_by_default_follows_the_rule(catalogue: Catalogue, samples: Samples) -> None:
    """Counted by loops; all 12 categories of the data set are among the 30 most reviewed."""
    reviews = [0] * 13
    known = samples.known_items()
    for item in samples.pool.tolist():
        reviews[samples.item_category[item]] += int(known[item])
    order = sorted(range(1, 13), key=lambda number: -reviews[number])
    lift = [catalogue.lift(name) for name in catalogue.names]
    pairs = {(lift[a - 1][b], -order.index(a)): a for a in order for b in order if a != b}
    last = pairs[max(pairs)]
    others = [number for number in order if number != last and lift[last - 1][number] <= 1][:6]
    expected = [catalogue.names[number - 1] for number in [*others, others[1], last]]
    assert paper_like(catalogue) == expected
    history, targets = choose(catalogue, None, [], [])
    assert history == history_of(catalogue, expected)
    assert history.user is None
    assert targets[0].name == expected[-1]
    assert targets[0].item not in history.items
    assert targets[1].name not in expected
    assert targets[2] == Target(None, "none")
    with pytest.raises(UserError, match="user must be from 0 to 299"):
        choose(catalogue, 300, [], [])


def test_attention_to_the_targets_category_is_that_of_a_loop(samples: Samples) -> None:
    model, rows = dien(samples), []
    test = samples.test
    for place in np.flatnonzero(test.label == 1):
        items = samples.items[test.begin[place] : test.end[place]]
        same = samples.item_category[items] == samples.item_category[test.item[place]]
        if same.any() and not same.all():
            (one,) = trajectories(model, samples, items.tolist(), [Target(int(test.item[place]), "")])
            share = one.attention * len(items)
            rows.append((test.user[place], share[same].mean(), share[~same].mean(), share[-1]))
    found = attention_of(model, samples)
    order = np.argsort(found.user)
    assert len(order) == len(rows) > 5
    np.testing.assert_allclose(np.array(found).T[order], sorted(rows), rtol=1e-4)


def run(user: list[int], same: list[float]) -> Attention:
    values = np.array(same)
    return Attention(np.array(user), values, values / 2, values * 2)


def test_emphasis_has_an_interval_over_users_and_seeds() -> None:
    """Users count once, however many samples they have; by hand: seed means 2.5 and 3.5, user means 2 and 4."""
    found = emphasis([run([7, 7, 9], [1, 2, 3.5]), run([7, 7, 9], [2, 3, 4.5])])
    assert (found.users, found.seeds, found.same, found.other, found.last) == (2, 2, 3.0, 1.5, 6.0)
    variance = 2 / 2 + 0.5 / 2  # of user means, over two users; of seed means, over two seeds
    degrees = variance**2 / (1.0**2 + 0.25**2)
    half = student.ppf(0.975, degrees) * variance**0.5
    assert found.interval == pytest.approx((3 - half, 3 + half))
    assert emphasis([run([1, 2], [3, 4])]).interval is None


@pytest.mark.parametrize(
    ("same", "verdict"),
    [([1.5, 1.51, 1.49], "yes"), ([0.9, 0.91, 0.89], "no"), ([0.5, 1.0, 1.6], "inconclusive")],
)
def test_verdicts(same: list[float], verdict: str) -> None:
    assert emphasis([run([1, 2, 3], same)] * 2).verdict == verdict
    assert emphasis([run([1, 2, 3], same)]).verdict == "inconclusive"


def test_the_projection_is_scikit_learns() -> None:
    states = np.random.default_rng(0).normal(size=(3, 7, 36))
    pca = PCA(2)
    expected = pca.fit_transform(states.reshape(-1, 36)).reshape(3, 7, 2)
    found = project(states)
    np.testing.assert_allclose(np.abs(found.points), np.abs(expected), atol=1e-8)
    np.testing.assert_allclose(found.shares, pca.explained_variance_ratio_, atol=1e-8)
    alone = project(states[:1, :1])
    assert not alone.points.any()
    assert alone.shares == (0, 0)


def test_files_and_caption(tmp_path: Path, samples: Samples, catalogue: Catalogue) -> None:
    record = committed()[Path("tafeng/arxiv-v1/dien-official/seed-0")]
    history, targets = choose(catalogue, None, [catalogue.names[0], catalogue.names[1], catalogue.names[0]], [])
    torch.manual_seed(1)
    nets = [dien(samples), DIEN(vocabulary(samples).schema).eval()]
    found = Seeds((0, 1), [trajectories(net, samples, history.items, targets) for net in nets])
    measured = Emphasis(9, 2, 1.5, 0.7, 1.1, Interval(1.2, 1.8))
    command = figure3_command("runs/a/b/dien-official", None, "Bags, Packs;Tents", None)
    drawn = figure3(record, history, found, tmp_path / "figure3", emphasis=measured, command=command)
    assert [path.suffix for path in drawn] == [".png", ".svg", ".json"]
    document = json.loads(drawn[2].read_text())
    assert document["user"] is None
    assert (document["history"], document["seeds"]) == (history.names, [0, 1])
    for place, target in enumerate(document["targets"]):
        mean = (found.runs[0][place].attention + found.runs[1][place].attention) / 2
        np.testing.assert_allclose(target["attention"], mean, atol=1e-5)
    assert document["command"].endswith("figure 3 --run runs/a/b/dien-official --history 'Bags, Packs;Tents'")
    said = " ".join(caption(history, found, measured))
    assert "All 9 test users" in said
    assert "1.500 times equal attention (95 % interval 1.200 to 1.800, over users and seeds)" in said
    assert said.endswith("figure: yes.")
    before = [path.read_bytes() for path in drawn]
    figure3(record, history, found, tmp_path / "figure3", emphasis=measured, command=command)
    assert [path.read_bytes() for path in drawn] == before
