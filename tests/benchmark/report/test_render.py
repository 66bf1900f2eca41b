"""What a table gives to programs: numbers as numbers, and everything else as the text that it is."""

import json

import pytest

from benchmark.report.render import Table


def values(**cells: str) -> list[float | str | None]:
    (line,) = Table("", (), (), (tuple(cells), tuple(cells.values()))).values()
    return line


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("12", 12),
        ("-0.012500", -0.0125),
        ("+0.5", 0.5),
        ("1.2e-05", 1.2e-5),
        ("", None),
        ("1_0", "1_0"),
        (" 1", " 1"),
        ("nan", "nan"),
        ("-inf", "-inf"),
        ("Infinity", "Infinity"),
        ("٣", "٣"),  # a digit to Python
        ("1e", "1e"),
        ("yes", "yes"),
    ],
)
def test_a_number_is_what_is_written_as_one(cell: str, expected: float | str | None) -> None:
    (found,) = values(auc_mean=cell)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("name", ["nan", "1_0", "10", "1e5", "inf"])
def test_a_name_that_reads_like_a_number_is_a_name(name: str) -> None:
    assert values(dataset=name, model=name, seeds="5") == [name, name, 5]
    json.dumps(values(model=name), allow_nan=False)


def test_a_table_without_lines_for_programs_has_no_values() -> None:
    assert Table("", (), (), ()).values() == []
