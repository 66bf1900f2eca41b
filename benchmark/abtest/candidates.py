"""What a trained run predicts for the candidates of requests: each history encoded once, each candidate scored."""

from collections.abc import Callable

import numpy as np

from benchmark.abtest.workload import Floats, Requests
from benchmark.api import Run
from benchmark.serving.runs import as_served
from datamodules.batches import EvaluationBatches
from datamodules.impressions import Int32
from datamodules.protocol import DayProtocol
from datamodules.samples import Samples, Split, by_user_and_time
from datamodules.samples.impressions import spans


def scorer_of_candidates(fields: dict[str, Int32]) -> Callable[[Run, Requests], Floats]:
    """Return what gives a run's click rates (R, K) for requests.

    `fields` (I + 1,) are those that an item has as a target alone, as its campaign. The run is frozen as a server has
    it, so that a candidate's rate does not depend on which others are scored with it. Histories are those that the
    run's protocol gives at the time of the request.
    """
    frozen: dict[int, Run] = {}  # of the runs seen, by identity: a run is asked several times

    def score(run: Run, requests: Requests) -> Floats:
        if id(run) not in frozen:
            frozen[id(run)] = as_served(run)
        served = frozen[id(run)]
        count, candidates = requests.item.shape
        split = _split(served.data.ready, requests, fields)
        batches = EvaluationBatches(served.data.ready, split, served.data.hparams["batch_size"], served.data.vocabulary)
        found = np.empty(count * candidates)
        found[batches.order] = np.concatenate([served.predict(batches[at]) for at in range(len(batches))])
        return found.reshape(count, candidates)

    return score


def _split(samples: Samples, requests: Requests, fields: dict[str, Int32]) -> Split:
    """The candidates of requests as samples, a request's side by side."""
    protocol = samples.protocol
    assert isinstance(protocol, DayProtocol)
    candidates = requests.item.shape[1]
    owners = np.repeat(np.arange(samples.users), np.diff(samples.offsets))
    begin, end = spans(by_user_and_time(owners, samples.times), requests.user, requests.time, protocol)
    item = requests.item.reshape(-1).astype(np.int32)
    return Split(
        user=np.repeat(requests.user, candidates).astype(np.int32),
        begin=np.repeat(begin, candidates),
        end=np.repeat(end, candidates),
        item=item,
        label=np.zeros(len(item), np.int8),
        time=np.repeat(requests.time, candidates),
        target={name: codes[item] for name, codes in fields.items()},
        context={name: np.repeat(codes, candidates).astype(np.int32) for name, codes in requests.context.items()},
    )
