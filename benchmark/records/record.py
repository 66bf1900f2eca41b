"""Run records: the one JSON file that a run leaves, and the only source of every table, figure and page.

A record lies in OUT/<dataset>/<protocol>/<model>-<variant>/seed-<n>/record.json. It is written last and in one step, so
a folder without it is a run that did not finish. On a board it is a line of <dataset>/<protocol>/runs.jsonl. `Record`
is its schema, docs/record.schema.json the same for programs.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema

from datamodules.errors import UNSHOWN, UserError, printable
from datamodules.files.atomic import write_atomically

FILE_NAME, RUNS = "record.json", "runs.jsonl"
LAYOUT = f"<dataset>/<protocol>/<model>-<variant>/seed-<n>/{FILE_NAME} or <dataset>/<protocol>/{RUNS}"
SCHEMA_VERSION = 3
_ADVICE = "Delete that run, its folder or its line, and train it again."

_UNSHOWN = UNSHOWN.pattern[1:-1].replace(r"\ud800-\udfff", "")  # halves of a character are no string to pydantic
TEXT = rf"^[^{_UNSHOWN}]+$"
# A name is one component of a path, since every name is one in the run folder, and no formula of a spreadsheet.
NAME = rf"^[^.=+@/\\{_UNSHOWN}-][^/\\{_UNSHOWN}]*$"
SHA256 = "^[0-9a-f]{64}$"
EXPECTED = {  # pattern or kind of an error -> what a message says; for others pydantic's own words
    TEXT: "a string that is not empty, without control characters and marks of writing direction",
    NAME: "a name without slashes, control characters and marks of writing direction, beginning with none of . = + - @",
    SHA256: "64 hexadecimal digits in lower case",
    "string_unicode": "a string of whole characters",
    "dict_type": "an object",
    "dataclass_type": "an object",
}

Text = Annotated[str, Field(pattern=TEXT)]
Name = Annotated[str, Field(pattern=NAME)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
Whole = Annotated[int, Strict()]
Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Count = Annotated[Whole, Field(ge=0)]
Number = Annotated[Finite, Field(ge=0)]
Auc = Annotated[Finite, Field(ge=0, le=1)]


if TYPE_CHECKING:
    Setting = Any
else:
    Setting = Annotated[bool, Strict()] | Whole | Finite | Text | None
SETTINGS = {  # that every record has
    "batch_size": {"type": "integer", "minimum": 1},
    "steps": {"type": "integer", "minimum": 1},
    "learning_rate": {"type": "number", "minimum": 0},
}


def _complete(settings: dict[str, Any]) -> dict[str, Any]:
    for name, schema in SETTINGS.items():
        kinds, value = (int,) if schema["type"] == "integer" else (int, float), settings.get(name)
        if type(value) not in kinds or value < schema["minimum"]:  # type: ignore[operator]
            raise ValueError(f"{name} in it to be a JSON {schema['type']} of at least {schema['minimum']}")
    return settings


@dataclass(frozen=True, config={"extra": "forbid"})
class AucBySelection:
    """Test AUC in [0, 1] of three checkpoints of one run; None where there is none.

    `last` is the last step, `validation` the step best on validation users, `test` the step best on test.
    """

    last: Auc | None
    validation: Auc | None
    test: Auc | None


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Record:
    """One run: what was trained, under which protocol, with which outcome; the fields of record.json."""

    schema_version: Annotated[Whole, Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
    dataset: Name
    protocol: Name
    protocol_hash: Text
    model: Name
    variant: Literal["official", "paper"]
    seed: Count
    selection: Literal["last", "validation", "test"]  # whose test AUC is reported
    auc: AucBySelection
    validation_auc: Auc | None = None  # on validation users, at the reported step
    gauc: Auc | None = None  # of the reported checkpoint on test; None: no user has both labels
    logloss: Number | None  # of the same, nats a sample; None for a failed run
    calibration: Number | None  # of the same; None for a failed run
    best_step: Count | None
    epochs: Number
    steps: Count
    parameters: Count
    train_seconds: Number  # evaluations included
    evaluation_seconds: Number
    processor_seconds: Number | None = None  # evaluations included; None: not known, of a failed run or an old record
    samples_per_second: Number  # of training alone
    peak_memory_mb: Count
    device: Text
    versions: dict[Text, Text]
    commit: Text | None  # None outside a git checkout
    code_sha256: Sha256
    data_sha256: Sha256
    sampler_version: Count
    settings: Annotated[
        dict[Text, Setting],
        AfterValidator(_complete),
        Field(json_schema_extra={"required": [*SETTINGS], "properties": SETTINGS}),
    ]
    status: Literal["finished", "failed"]
    reason: Text | None = None  # of a failure, in one line
    path: SkipJsonSchema[Path] = field(compare=False)  # where it was read, for messages

    @property
    def reported_auc(self) -> float:
        """Test AUC of the selection that is reported. Raises ValueError for a failed run without one."""
        value: float | None = getattr(self.auc, self.selection)
        if value is None:
            raise ValueError(f"{self.path} has no AUC for its selection '{self.selection}'")
        return value

    @property
    def place(self) -> str:
        """Where the run was read, for messages: its folder, or its line on a board."""
        if self.path.name == RUNS:
            return f"{self.path.parent}, {self.model}-{self.variant}, seed-{self.seed}"
        return str(self.path.parent)


DIRTY = "-dirty"  # behind a commit, where tracked files of the checkout differed from it


def uncommitted(records: Iterable[Record]) -> bool:
    """Say whether any run was trained from a checkout that differed from its commit."""
    return any(record.commit is not None and record.commit.endswith(DIRTY) for record in records)


FIELDS = tuple(one.name for one in fields(Record) if one.name != "path")  # of record.json, in its order


def json_schema() -> str:
    """Return the JSON Schema of record.json, the text of docs/record.schema.json."""
    return json.dumps(TypeAdapter(Record).json_schema(), indent=2) + "\n"


def parse_record(data: object, path: Path) -> Record:
    """Return the record that `data`, the content of the JSON file `path`, stands for.

    Raises UserError naming file and field where a field is missing, unknown, of a wrong type or out of range, and where
    a finished run lacks the figures that it reports.
    """
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a JSON {type(data).__name__}, expected an object. {_ADVICE}")
    version = data.get("schema_version")
    if type(version) is int and version != SCHEMA_VERSION:
        advice = "Update dien-bench" if version > SCHEMA_VERSION else "Train the run again"
        raise UserError(f"{path} has schema_version {version}, this dien-bench reads {SCHEMA_VERSION}. {advice}.")
    if "path" in data:
        raise UserError(f"{path} has the unknown field 'path'. {_ADVICE}")
    try:
        record = Record(**data, path=path)
    except ValidationError as error:
        raise _unlike_schema(path, data, error) from None
    if record.status == "finished":
        figures = {f"auc.{name}": getattr(record.auc, name) for name in ("last", record.selection)}
        for name, value in (figures | {"logloss": record.logloss, "calibration": record.calibration}).items():
            if value is None:
                raise _wrong(path, name, None, "a number, since the run finished")
    return record


def _unlike_schema(path: Path, data: dict[str, Any], error: ValidationError) -> UserError:
    """Return the message on the first field that is not as the schema says."""
    found = error.errors(include_url=False)
    kind, place = found[0]["type"], _inside(data, found[0]["loc"])
    if kind in ("missing", "missing_keyword_only_argument", "missing_argument"):
        return UserError(f"{path} lacks the field '{_shown_place(found[0]['loc'])}'. {_ADVICE}")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return UserError(f"{path} has the unknown field '{_shown_place(found[0]['loc'])}'. {_ADVICE}")
    expected = dict.fromkeys(_expected(one) for one in found if _inside(data, one["loc"]) == place)
    value: Any = data
    for key in place:
        value = value[key]
    return _wrong(path, _shown_place(place), value, " or ".join(expected))


def _expected(error: Any) -> str:
    words: str = EXPECTED.get(error.get("ctx", {}).get("pattern", error["type"]), error["msg"])
    return words.removeprefix("Input should be ").removeprefix("Value error, ")


def _inside(data: Any, place: Iterable[str | int]) -> tuple[str | int, ...]:
    """Return the part of a place that leads to a value; behind it stand kinds of a union and the like."""
    inside = []
    for key in place:
        if not isinstance(data, dict) or key not in data:
            break
        inside.append(key)
        data = data[key]
    return tuple(inside)


def _shown_place(place: Iterable[str | int]) -> str:
    return printable(".".join(map(str, place)).replace("\n", "\\n"))


def _wrong(path: Path, name: str, found: object, expected: str) -> UserError:
    shown = json.dumps(found, default=repr)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return UserError(f"{path}: the field '{name}' is {shown}, expected {expected}. {_ADVICE}")


def run_folder(root: Path, dataset: str, protocol: str, model: str, variant: str, seed: int) -> Path:
    """Return the folder of a run: root/<dataset>/<protocol>/<model>-<variant>/seed-<n>."""
    return root / dataset / protocol / f"{model}-{variant}" / f"seed-{seed}"


def read_records(
    root: Path,
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    model: str | None = None,
    variant: str | None = None,
) -> list[Record]:
    """Return the records below `root` of the given data set, protocol, model and variant (None: of all).

    Sorted by data set, protocol, model, variant and seed; an empty list where there is none. What is filtered
    out is not opened, so that a damaged record does no harm to the tables of other data sets.
    Raises UserError for a root that is no folder, for a damaged record, and for one in another run's folder.
    """
    if not root.is_dir():
        raise UserError(f"no folder {root}, expected one with run records. Train first: dien-bench run --help")
    wanted = {"dataset": dataset, "protocol": protocol, "model": model, "variant": variant}
    records: list[Record] = []
    for name, read in ((FILE_NAME, _read_folder), (RUNS, _read_lines)):
        for path in root.rglob(name):
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue  # what `leaderboard add` is staging, or left when it was killed: no name begins with a dot
            place = _place(path)
            if all(wanted.get(key) in (None, found) for key, found in place.items()):
                records += read(path)
    records = [r for r in records if all(value in (None, getattr(r, key)) for key, value in wanted.items())]
    return sorted(records, key=lambda r: (r.dataset, r.protocol, r.model, r.variant, r.seed, str(r.path)))


def read_record(path: Path) -> Record:
    """Return the record in the file `path`; raises UserError where it is damaged or lies in another run's folder."""
    record = parse_record(_parse_json(_read_text(path), path), path)
    _check_place(record, _place(path))
    return record


def finished_run(folder: Path) -> Record:
    """Return the record of a run's folder; raises `UserError` where it has none, or that of a failed run."""
    path = folder / FILE_NAME
    if not path.is_file():
        runs = sorted(folder.glob(f"seed-*/{FILE_NAME}"))
        advice = f"It is a row: name one of its runs, {runs[0].parent}" if runs else "Train one: dien-bench run --help"
        raise UserError(f"no {path}: expected the folder of a finished run. {advice}")
    record = read_record(path)
    if record.status == "failed":
        raise UserError(f"{folder} is a run that failed: {record.reason}. Run it again: dien-bench run --retry-failed")
    return record


def _read_folder(path: Path) -> list[Record]:
    return [read_record(path)]


def _read_lines(path: Path) -> Iterator[Record]:
    """Read a runs.jsonl; raises UserError naming the line that is damaged, of another place, or a run's second."""
    place, seen = _place(path), set()
    for number, line in enumerate(_read_text(path).removesuffix("\n").split("\n"), start=1):
        where = Path(f"{path}, line {number}")
        record = parse_record(_parse_json(line, where), where)
        _check_place(record, place)
        run = (record.model, record.variant, record.seed)
        if run in seen:
            raise UserError(
                f"{where} is a second line of {record.model}-{record.variant}, seed {record.seed}. Keep one."
            )
        seen.add(run)
        yield replace(record, path=path)


def _place(path: Path) -> dict[str, str]:
    """Return what the folders above a record say about it (the absolute path: `root` may be any of them)."""
    depth = 2 if path.name == RUNS else 4
    parts = Path(os.path.abspath(path)).parts[-depth - 1 : -1]
    if len(parts) < depth or parts[0] == os.sep:
        raise UserError(f"{path} does not lie in a run folder, expected {LAYOUT}. Move or delete it.")
    place = {"dataset": parts[0], "protocol": parts[1]}
    if path.name == RUNS:
        return place
    model, _, variant = parts[2].rpartition("-")
    return place | {"model": model, "variant": variant, "seed": parts[3]}


def _check_place(record: Record, place: dict[str, str]) -> None:
    for name, found in place.items():
        expected = f"seed-{record.seed}" if name == "seed" else getattr(record, name)
        if found != expected:
            raise UserError(
                f"{record.path}: the field '{name}' says {expected!r}, but its folder says {found!r}; "
                f"expected {LAYOUT}. Move the run to where it belongs."
            )


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}. {_ADVICE}") from error


def _parse_json(text: str, path: Path) -> object:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}. {_ADVICE}") from error


def line_of(record: Record) -> str:
    """Return a record as a line of runs.jsonl, fields by name; what is read from it is equal to the record."""
    values = asdict(record)
    return json.dumps({name: values[name] for name in sorted(FIELDS)}, allow_nan=False) + "\n"


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write `record`, which has the fields of `Record` but `path`, as JSON; readers see all of it or nothing.

    Raises UserError where the fields are not those of a record or the file cannot be written.
    """
    parse_record(record, path)
    text = json.dumps({name: record[name] for name in FIELDS if name in record}, indent=2, allow_nan=False)
    write_atomically(path, (text + "\n").encode("utf-8"))


if __name__ == "__main__":
    print(json_schema(), end="")
