"""Figure 3: attention and states of one history, choices by rule, the projection, and what the command says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from baselines.base_model import BaseModel
from baselines.dien import DIEN
from benchmark.analysis.evolution import (
    Catalogue,
    Emphasis,
    Target,
    choose,
    emphasis,
    history_of,
    join_names,
    split_names,
    telling_user,
    trajectories,
)
from benchmark.report.figure3 import caption, figure3, figure3_command, project
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


def test_the_user_shown_by_default_follows_the_rule(catalogue: Catalogue, samples: Samples) -> None:
    def told(user: int) -> tuple[int, int, float]:
        (place,) = np.flatnonzero((samples.test.user == user) & (samples.test.label == 1))
        items = samples.items[samples.test.begin[place] : samples.test.end[place]]
        categories = samples.item_category[items]
        return (
            len(items),
            len(set(categories)),
            float((categories == samples.item_category[samples.test.item[place]]).mean()),
        )

    chosen = telling_user(samples)
    length, categories, same = told(chosen)
    assert 8 <= length <= 12
    assert 0 < same <= 0.5
    for user in set(samples.test.user.tolist()):
        (place,) = np.flatnonzero((samples.test.user == user) & (samples.test.label == 1))
        if samples.test.end[place] == samples.offsets[user]:
            continue  # no history
        length, others, same = told(user)
        if 8 <= length <= 12 and 0 < same <= 0.5:
            assert (-categories, chosen) <= (-others, user)
    history, targets = choose(catalogue, None, [], [])
    assert history.user == chosen
    assert [target.name for target in targets][2:] == ["none"]
    assert targets[1].name not in history.names
    with pytest.raises(UserError, match="user must be from 0 to 299"):
        choose(catalogue, 300, [], [])


def test_emphasis_is_that_of_a_loop(samples: Samples) -> None:
    model, rows = dien(samples), []
    test = samples.test
    for place in np.flatnonzero(test.label == 1):
        items = samples.items[test.begin[place] : test.end[place]]
        same = samples.item_category[items] == samples.item_category[test.item[place]]
        if same.any() and not same.all():
            (one,) = trajectories(model, samples, items.tolist(), [Target(int(test.item[place]), "")])
            share = one.attention * len(items)
            rows.append((share[same].mean(), share[~same].mean(), share[-1]))
    found = emphasis(model, samples)
    assert found.samples == len(rows) > 5
    np.testing.assert_allclose(found[1:], np.mean(rows, axis=0), rtol=1e-4)


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
    found = trajectories(dien(samples), samples, history.items, targets)
    command = figure3_command(record, history, targets)
    drawn = figure3(record, history, found, tmp_path / "figure3", emphasis=Emphasis(9, 1.5, 0.7, 1.1), command=command)
    assert [path.suffix for path in drawn] == [".png", ".svg", ".json"]
    document = json.loads(drawn[2].read_text())
    assert document["user"] is None
    assert document["history"] == history.names
    for one, target in zip(found, document["targets"], strict=True):
        np.testing.assert_allclose(target["attention"], one.attention, atol=1e-5)
    assert document["command"].endswith(f"--targets {','.join(target.name for target in targets)}")
    said = " ".join(caption(history, found, Emphasis(9, 1.5, 0.7, 1.1)))
    assert "9 test users" in said
    assert "1.50 times equal attention" in said
    before = [path.read_bytes() for path in drawn]
    figure3(record, history, found, tmp_path / "figure3", emphasis=Emphasis(9, 1.5, 0.7, 1.1), command=command)
    assert [path.read_bytes() for path in drawn] == before


@pytest.mark.parametrize("names", [["Tents"], ["Bags, Packs"], ["Bags, Packs", "Tents"], ["Speakers", "none"]])
def test_names_are_joined_as_they_are_split(names: list[str]) -> None:
    assert split_names(join_names(names)) == names
    assert split_names(" , ") == split_names(None) == []
