"""Malformed and hostile requests to a server: `dien-bench load-test --malformed 100000`.

Every reply must be 200 or 4xx with a reason, as JSON where the message is HTTP at all. A message that is complete must
have one; one without an end, or whose header has another length than its body, may have none. The server must go on
serving.
"""

import json
import random
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from datamodules.errors import UserError

SOUND = {"history": {"item": [1, 2]}, "target": {"item": [3, 4]}, "user": {"user": 7}}
PATIENCE = 0.1  # seconds for the reply to a message that need not have one
LONG = 60.0  # seconds for any other, however much else the machine does
LEAVES: list[Any] = [
    None, True, 0, -1, 1.5, 2**63, 2**70, "", "\x00", "é" * 300, "x" * 100_000, [], {}, [[]], [None], [1] * 1_001,
    {"item": 1}, {"item": [1] * 3}, {"item": [1.0]}, {"__proto__": [1]}, {"item": []}, [1, "a", None],
]  # fmt: skip
METHODS = ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW", "post", "CONNECT"]
PATHS = ["/", "/predict/", "/predict?x=%00", "/../etc/passwd", "//predict", "/metrics", "/health", "/" + "a" * 9_000]
HEADERS = [
    "Content-Type: text/xml", "Content-Encoding: gzip", "Expect: 100-continue", "X: " + "y" * 70_000, "Bad Header",
    "Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: -1", "Content-Length: 99999999999999999999",
    "Upgrade: websocket\r\nConnection: upgrade", "Host: a\r\nHost: b", "X: \x00", "Transfer-Encoding: x, chunked",
]  # fmt: skip


def mutated(value: Any, rng: random.Random) -> Any:
    """A JSON value with one part of it replaced, left out or renamed."""
    if rng.random() < 0.35 or not isinstance(value, (dict, list)) or not value:
        return rng.choice(LEAVES)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        return [*value[:at], mutated(value[at], rng), *value[at + 1 :]]
    name = rng.choice(list(value))
    rest = {key: part for key, part in value.items() if key != name}
    return rng.choice([rest, {**rest, name + "x": value[name]}, {**rest, name: mutated(value[name], rng)}])


def body_of(rng: random.Random) -> bytes:
    """A body: a mutated request, bytes of it changed or cut, deep nesting, or noise."""
    sound = json.dumps(mutated(SOUND, rng)).encode()
    kinds: list[Callable[[], bytes]] = [
        lambda: sound,
        lambda: sound,
        lambda: sound[: rng.randrange(len(sound) + 1)],
        lambda: bytes(byte ^ (1 << rng.randrange(8)) if rng.random() < 0.02 else byte for byte in sound[:5_000]),
        lambda: rng.choice([b"[", b'{"history":']) * rng.choice([10, 2_000, 50_000]),
        lambda: rng.randbytes(rng.randrange(200)),
        lambda: sound.decode().encode(rng.choice(["utf-16", "utf-8-sig", "utf-32"])),
        lambda: rng.choice(
            [b"NaN", b'{"history": NaN}', b"1e999", b'"\\ud800"', b"", b"null", b"-", b"[" + b"9" * 5_000]
        ),
    ]
    return rng.choice(kinds)()


def message_of(rng: random.Random) -> tuple[bytes, bool]:
    """The bytes of one HTTP request, or of something that should have been one, and whether it is complete for sure."""
    body = body_of(rng)
    method, path, lines = "POST", "/predict", [f"Content-Length: {len(body)}"]
    kind = rng.random()
    complete = kind < 0.2 or kind >= 0.45
    if kind < 0.1:
        method = rng.choice(METHODS)
    elif kind < 0.2:
        path = rng.choice(PATHS)
    elif kind < 0.35:
        lines.insert(rng.randrange(2), rng.choice(HEADERS))
    elif kind < 0.4:
        chunks = [body[at : at + 50] for at in range(0, len(body[:5_000]), 50)]
        lines, body = ["Transfer-Encoding: chunked"], b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks)
        body += rng.choice([b"0\r\n\r\n", b"", b"zz\r\n", b"-1\r\n"])
    elif kind < 0.45:
        return rng.randbytes(rng.randrange(1, 500)), complete
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body, complete


def exchange(host: str, port: int, message: bytes, patience: float) -> bytes:
    """All that the server answers to a message; it has `patience` seconds to begin, where a message has no end."""
    answer = b""
    with socket.create_connection((host, port), timeout=patience) as connection:
        try:
            connection.sendall(message)
            while part := connection.recv(65_536):
                answer += part
                connection.settimeout(LONG)
        except (ConnectionError, TimeoutError):  # closed before all was sent, or the server waits for the rest
            pass
    return answer


def send_malformed(count: int, seed: int, host: str, port: int) -> Counter[str]:
    """Send `count` messages and return how often each status came, "none" where there is none.

    Raises UserError for a wrong reply, with the message, and for a server that no longer answers a sound request.
    """
    rng = random.Random(seed)
    found: Counter[str] = Counter()
    sound = json.dumps(SOUND).encode()
    good = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
        len(sound),
        sound,
    )
    for number in range(count):
        message, complete = message_of(rng)
        answer = exchange(host, port, message, LONG if complete else PATIENCE)
        status = answer[9:12].decode("latin-1") if answer else "none"
        if not _right(status, message, answer, complete):
            raise UserError(
                f"message {number} got {answer[:200]!r}, expected 200, or 4xx with a reason; it was {message[:500]!r}"
            )
        found[status] += 1
        if number % 100 == 0 and not exchange(host, port, good, LONG).startswith(b"HTTP/1.1 200"):
            raise UserError(f"after message {number} a sound request is no longer answered with 200: {sound!r}")
    return found


def _right(status: str, message: bytes, answer: bytes, complete: bool) -> bool:
    """Whether a reply is one that a malformed message may get."""
    if status.startswith("4") and b"application/json" in answer and not message.startswith(b"HEAD"):
        return bool(json.loads(answer.partition(b"\r\n\r\n")[2])["error"])
    return status == "200" or status.startswith("4") or (not complete and status in ("100", "none"))
