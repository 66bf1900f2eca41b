"""The cost measurement runs, and reads rows that exist."""

from functools import partial

import numpy as np
import pytest

from benchmark.bench.optimiser_cost import BATCH, HISTORY, Reader, Sizes, main, measure

SIZES = Sizes(users=3000, items=200, categories=10)


def test_ids_are_rows_of_the_tables_in_the_proportions_of_a_run() -> None:
    reader = Reader(SIZES)
    batches = [reader.batch(step) for step in range(40)]
    for ids, rows in zip(zip(*batches, strict=True), SIZES, strict=True):
        values = np.concatenate([part.numpy().ravel() for part in ids])
        assert values.min() >= 0
        assert values.max() <= rows
    behaviours = sum(int((batch.items > 0).sum()) for batch in batches) / (40 * BATCH)
    assert behaviours == pytest.approx(1 + 2 * HISTORY, rel=0.2)
    users = np.concatenate([batch.users.numpy() for batch in batches])
    assert set(np.bincount(users)) == {0, 2}  # a positive and a negative sample each, test users none
    assert not reader.batch(None).users.any()


def test_measure_gives_four_times() -> None:
    found = measure(SIZES.items + 1, partial(Reader(SIZES).field, "items"), evaluated=2, steps=5, warm_up=96)
    assert len(found) == 4
    assert all(0 < milliseconds < 1000 for milliseconds in found)


def test_a_line_for_each_table(capsys: pytest.CaptureFixture[str]) -> None:
    main("beauty", steps=2, warm_up=0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "beauty, users",
        "beauty, items",
        "beauty, categories",
    ]
