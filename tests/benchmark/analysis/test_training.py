"""Which rows were trained alike."""

from dataclasses import replace

from benchmark.analysis.training import training_of, unlike, unlike_first
from benchmark.records.record import Record
from tests.benchmark.boards import committed

NOW = {"adam_epsilon": "tensorflow", "pairs_together": True, "unknown_user": "most-frequent"}
ALL = list(NOW)


def run(model: str, **settings: object) -> Record:
    some = next(iter(committed().values()))
    said = {name: value for name, value in some.settings.items() if name not in ALL}
    return replace(some, model=model, settings=said | settings)


def test_the_rows_that_differ_from_the_first() -> None:
    records = [run("base-model", **NOW), run("din"), run("dien", **NOW | {"adam_epsilon": "torch"})]
    models = [record.model for record in records]
    assert unlike_first(records, models) == {"din": ALL, "dien": ["adam_epsilon"]}
    assert unlike_first(records, models[1:]) == {"dien": ["pairs_together", "unknown_user"]}
    assert unlike_first(records, ["pnn", "din"]) == {}
    assert unlike_first([], models) == {}


def test_what_a_row_names_as_an_option_does_not_count() -> None:
    plain, option = run("dien", **NOW), run("dien+adam_epsilon=torch", **NOW | {"adam_epsilon": "torch"})
    assert unlike(training_of(plain), training_of(option)) == []
    assert unlike(training_of(option), training_of(plain)) == []
    both = run("dien+adam_epsilon=torch", **NOW | {"adam_epsilon": "torch", "pairs_together": False})
    assert unlike(training_of(both), training_of(plain)) == ["pairs_together"]


def test_runs_of_before_these_settings_had_names() -> None:
    old = run("din")
    assert unlike(training_of(old), training_of(run("din", **NOW))) == ALL
    said = run("din", adam_epsilon="torch", pairs_together=False, unknown_user="own")
    assert unlike(training_of(old), training_of(said)) == []
