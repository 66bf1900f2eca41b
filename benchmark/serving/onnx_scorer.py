"""An exported run as a scorer: ONNX Runtime, on one core, one request at a time, for its graph has one history."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.serving.request import PARTS, Request
from benchmark.serving.scorer import RunScorer


def session_of(model: bytes | Path) -> Any:
    """Return a session of ONNX Runtime with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model) if isinstance(model, Path) else model, options)


def run_onnx(session: Any, inputs: Sequence[Mapping[str, NDArray[np.int64]]]) -> NDArray[np.float32]:
    """Return the probabilities (N,) of the rows of a user, a history, N targets and their moments."""
    named = {f"{part}_{name}": rows for part, of in zip(PARTS, inputs, strict=True) for name, rows in of.items()}
    found: NDArray[np.float32] = session.run(None, named)[0]
    return found


class OnnxScorer(RunScorer):
    """Scores as the exported file of a run does; numbers become rows as in the run's own scorer."""

    def __init__(self, of: RunScorer, path: Path) -> None:
        super().__init__(of.model, of.vocabulary, of.about)
        self.session = session_of(path)

    def score(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """Return the probabilities (N,) of each request's candidates."""
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> NDArray[np.float64]:
        n = request.candidates
        user = self.user.rows({name: [value] for name, value in request.user.items()}, 1)
        context = self.context.rows({name: [value] * n for name, value in request.context.items()}, n)
        history = self.behaviour.rows(request.history, request.behaviours)
        target = self.target.rows(request.target, n)
        return run_onnx(self.session, (user, history, target, context)).astype(np.float64)
