"""What is exported: the recurrence against a loop in NumPy, and one model; the command verifies every export."""

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

from baselines import load
from benchmark.serving import export
from benchmark.serving.frozen import freeze
from benchmark.serving.onnx_recurrence import DOMAIN, OPSET, with_recurrences
from benchmark.serving.onnx_scorer import OnnxScorer
from benchmark.serving.request import Request
from benchmark.serving.scorer import RunScorer
from datamodules.batches import EvaluationBatches
from datamodules.errors import UserError
from datamodules.samples.file import prepare_samples
from datamodules.samples.vocabulary import vocabulary

Floats = NDArray[np.float32]


def by_hand(x: Floats, weight: Floats, p: Floats, q: Floats, after: bool) -> NDArray[np.float64]:
    """h_t = h_{t-1} + (p_t + q_t u_t) (c_t - h_{t-1}), position by position."""
    size, h, states = len(weight), np.zeros((x.shape[1], len(weight))), []
    of_u, of_r, of_c = np.split(weight.astype(float), 3, axis=1)
    for x_t, p_t, q_t in zip(x.astype(float), p, q, strict=True):
        u = 1 / (1 + np.exp(-(x_t[:, :size] + h @ of_u)))
        r = 1 / (1 + np.exp(-(x_t[:, size : 2 * size] + h @ of_r)))
        c = np.tanh(x_t[:, 2 * size :] + (r * (h @ of_c) if after else (r * h) @ of_c))
        h = h + (p_t + q_t * u) * (c - h)
        states.append(h)
    return np.stack(states) if states else np.zeros((0, *h.shape))


@pytest.mark.parametrize("buckets", [(), (1, 4)], ids=["scan", "buckets"])
@pytest.mark.parametrize("kind", ["RecurrenceAfter", "RecurrenceBefore"])
def test_a_recurrence_in_onnx_is_that_of_the_equations(kind: str, buckets: tuple[int, ...]) -> None:
    shapes = {"x": ["T", "N", 12], "weight": [4, 12], "p": ["T", "N", 1], "q": ["T", "N", 1]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    states = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["T", "N", 4])
    graph = helper.make_graph([helper.make_node(kind, list(shapes), ["states"], domain=DOMAIN)], "g", inputs, [states])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = with_recurrences(helper.make_model(graph, opset_imports=opsets, ir_version=10), buckets)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    rng = np.random.default_rng(0)
    for t, n in ((0, 1), (0, 3), (1, 1), (2, 1), (3, 2), (4, 2), (5, 1), (7, 5)):
        drawn = [rng.normal(size=size).astype(np.float32) for size in ((t, n, 12), (4, 12), (t, n, 1), (t, n, 1))]
        found = session.run(None, dict(zip(shapes, drawn, strict=True)))[0]
        np.testing.assert_allclose(found, by_hand(*drawn, after=kind == "RecurrenceAfter"), atol=1e-5)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> RunScorer:
    samples = prepare_samples("generated", "clean", tmp_path_factory.mktemp("data"))
    rows = vocabulary(samples)
    torch.manual_seed(0)
    model = load("dien")(rows.schema, variant="official").eval()
    for tensor in model.parameters():
        nn.init.normal_(tensor, std=0.1)
    frozen = freeze(model, [EvaluationBatches(samples, samples.train, rows=rows)[0]])
    return RunScorer(frozen, rows, {"model": "dien"})


@pytest.fixture(scope="module")
def program(scorer: RunScorer) -> torch.export.ExportedProgram:
    """What torch.export makes of DIEN, seconds long, for every test."""
    return export.program_of(scorer.model, scorer.vocabulary.schema)


@pytest.fixture(scope="module")
def graph(scorer: RunScorer, program: torch.export.ExportedProgram) -> onnx.ModelProto:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "program_of", lambda model, schema: program)
        return export.graph_of(scorer)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["scan", "buckets"])
def test_dien_in_onnx(
    loop: export.Loop, scorer: RunScorer, graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "graph_of", lambda scorer: copy.deepcopy(graph))
    path = tmp_path / "dien.onnx"
    assert export.write_onnx(scorer, path, loop) <= 1e-5
    requests = [Request({"item": [3] * t}, {"item": [*range(n)]}, {"user": 2}) for t, n in ((0, 1), (12, 4), (101, 2))]
    for found, expected in zip(OnnxScorer(scorer, path).score(requests), scorer.score(requests), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    kinds = {node.op_type for node in model.graph.node}
    assert kinds & {"Scan", "If"} == {"scan": {"Scan"}, "buckets": {"If"}}[loop]
    sums = [
        node
        for node in model.graph.node
        if node.op_type.startswith("Scatter")
        for a in node.attribute
        if a.name == "reduction" and a.s != b"none"
    ]
    assert not sums  # threads of onnxruntime would overwrite each other's
    told = {one.key: one.value for one in model.metadata_props}
    assert (told["model"], told["loop"]) == ("dien", loop)
    assert json.loads(told["schema"]) == scorer.vocabulary.schema.as_dict()
    assert len(told["vocabulary_sha256"]) == 64


def test_dien_as_a_program(
    scorer: RunScorer, program: torch.export.ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "program_of", lambda model, schema: program)
    path = tmp_path / "dien.pt2"
    assert export.write_torch(scorer, path) <= 1e-5
    files = {"metadata.json": ""}
    found = torch.export.load(path, extra_files=files)
    inputs = export.example(scorer.vocabulary.schema, 4, 6)
    assert found.module()(*inputs).shape == (6,)
    assert json.loads(files["metadata.json"])["model"] == "dien"


def test_what_differs_is_not_written(scorer: RunScorer) -> None:
    with pytest.raises(UserError, match="nothing written"):
        export.verified(lambda inputs: np.full(len(inputs[2]["item"]), 0.5, np.float32), scorer)
    with pytest.raises(UserError, match="expected a TwoStage model"):
        export.program_of(nn.Identity(), scorer.vocabulary.schema)
