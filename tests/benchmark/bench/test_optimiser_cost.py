"""The cost measurement runs, and reads the rows that a batch reads."""

from functools import partial

import pytest
import torch

from benchmark.bench import optimiser_cost
from benchmark.bench.optimiser_cost import ids_of, main, measure
from benchmark.bench.workloads import QUICK, electronics


def test_ids_are_those_of_every_field_that_reads_the_table() -> None:
    batch = electronics(quick=True).training("official", 16, 1)[0]
    assert ids_of(batch, "users").equal(batch.user["user"])
    for table, field in (("items", "item"), ("categories", "category")):
        ids = ids_of(batch, table)
        rest = torch.cat([batch.history[field][batch.mask], batch.negatives[field][batch.negatives["item"] > 0]])
        assert ids[:16].equal(batch.target[field])
        assert ids[16:].sort().values.equal(rest.sort().values)
        assert len(ids.unique()) > 16


def test_measure_gives_four_times() -> None:
    training = electronics(quick=True).training("official", 16, 40)
    read = partial(optimiser_cost._read, training, "items")
    found = measure(QUICK.items + 1, read, [torch.arange(9)] * 2, steps=5, warm_up=96)
    assert len(found) == 4
    assert all(0 < milliseconds < 1000 for milliseconds in found)


def test_a_line_for_each_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimiser_cost, "sizes_of", lambda dataset: QUICK)
    main("beauty", steps=2, warm_up=0)
    lines = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()]
    assert [(line[1], line[2]) for line in lines[2:]] == [
        ("beauty, users", "2000"),
        ("beauty, items", "700"),
        ("beauty, categories", "40"),
    ]
