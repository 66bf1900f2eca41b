"""What is asked of a scorer: one user's history and N candidates; and what a request may not be."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

SHOWN = 40  # characters of what was found in a reason
PARTS = ("user", "history", "target", "context")


class Refused(Exception):
    """A request that is not served: the HTTP status and the reason that its sender reads.

    `close`: the connection is not used again, as where the body is not read.
    """

    def __init__(self, status: int, reason: str, *, close: bool = False) -> None:
        super().__init__(reason)
        self.status, self.reason, self.close = status, reason, close


@dataclass(frozen=True)
class Limits:
    """What one request and all of them together may ask for; beyond it they are refused."""

    history: int = 1_000  # behaviours
    candidates: int = 1_000
    body: int = 1 << 20  # bytes
    seconds: float = 10.0  # for a client to send its headers, and its body
    waiting: int = 256  # requests that wait for a batch
    wait: float = 5.0  # seconds that one of them waits at most
    connections: int = 1_024  # while more are open, /predict is refused on all of them


@dataclass(frozen=True)
class RequestSchema:
    """The fields of requests, each with n where 0..n-1 mean something and every other number is unknown.

    Those of `optional` may be left out.
    """

    history: Mapping[str, int]  # T numbers each
    target: Mapping[str, int]  # N numbers each
    user: Mapping[str, int] = field(default_factory=dict)  # one number each
    context: Mapping[str, int] = field(default_factory=dict)  # one number each
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Request:
    """One user's history of T >= 0 behaviours, oldest first, and N >= 1 candidates."""

    history: Mapping[str, Sequence[int]]  # field -> T numbers
    target: Mapping[str, Sequence[int]]  # field -> N numbers
    user: Mapping[str, int] = field(default_factory=dict)
    context: Mapping[str, int] = field(default_factory=dict)

    @property
    def behaviours(self) -> int:
        """T."""
        return len(next(iter(self.history.values())))

    @property
    def candidates(self) -> int:
        """N."""
        return len(next(iter(self.target.values())))


class Scorer(Protocol):
    """A trained model as the server sees it."""

    schema: RequestSchema
    about: Mapping[str, str]  # which run it is

    def score(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """Return the probabilities (N,) of each request's candidates; unknown ids count as unknown."""


def parse(body: bytes, schema: RequestSchema, limits: Limits) -> Request:
    """Return the request of a JSON body; raises `Refused`, 400 where it is no JSON, 422 where it is no request.

    >>> schema = RequestSchema(history={"item": 9}, target={"item": 9})
    >>> parse(b'{"history": {"item": [1, 2]}, "target": {"item": [3]}}', schema, Limits()).candidates
    1
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    parts = _object(found, "the body", PARTS)
    if unnamed := [part for part in ("history", "target") if part not in parts]:
        raise Refused(422, f"the body has no {_shown(unnamed[0])}")
    return Request(
        history=_columns(parts["history"], "history", schema, limits),
        target=_columns(parts["target"], "target", schema, limits),
        user=_single(parts.get("user", {}), "user", schema),
        context=_single(parts.get("context", {}), "context", schema),
    )


def _columns(found: Any, part: str, schema: RequestSchema, limits: Limits) -> dict[str, list[int]]:
    """Return the lists of a part, which are of one length."""
    columns = _fields(found, part, schema)
    least, most = (0, limits.history) if part == "history" else (1, limits.candidates)
    for name, values in columns.items():
        where = f"{part}.{name}"
        if not isinstance(values, list):
            raise Refused(422, f"{where} must be a list, got {_shown(values)}")
        if not least <= len(values) <= most:
            raise Refused(422, f"{where} must have {least} to {most} values, got {len(values)}")
        _check(values, where)
    if len({len(values) for values in columns.values()}) > 1:
        raise Refused(422, f"the lists of {part} must have one length, got {_lengths(columns)}")
    return columns


def _single(found: Any, part: str, schema: RequestSchema) -> dict[str, int]:
    values: dict[str, int] = _fields(found, part, schema)
    for name, value in values.items():
        _check([value], f"{part}.{name}")
    return values


def _fields(found: Any, part: str, schema: RequestSchema) -> dict[str, Any]:
    known: Mapping[str, int] = getattr(schema, part)
    fields = _object(found, part, known)
    for name in known:
        if name not in fields and name not in schema.optional:
            raise Refused(422, f"{part} has no {_shown(name)}")
    if part in ("history", "target") and not fields:
        raise Refused(422, f"{part} must have one of {', '.join(known)}")
    return fields


def _object(found: Any, what: str, known: Collection[str]) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise Refused(422, f"{what} must be an object, got {_shown(found)}")
    for name in found:
        if name not in known:
            raise Refused(422, f"{what} has an unknown field {_shown(name)}; known: {', '.join(known) or 'none'}")
    return found


def _check(values: Sequence[Any], where: str) -> None:
    for value in values:
        if type(value) is not int:  # True is an int too
            raise Refused(422, f"{where} must hold whole numbers, got {_shown(value)}")


def _lengths(columns: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{len(values)} of {name}" for name, values in columns.items())


def _shown(value: Any) -> str:
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # it reads 1,024 levels, and writes 254
        text = "deeply nested JSON"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
