"""`dien-bench gpu-check`: each check in a process of its own, all within a time, written as they end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmark.bench.gpu.line import Line, Status
from benchmark.bench.timing import machine
from benchmark.records.commit import commit
from benchmark.report.render import Section, Table
from benchmark.runs.device import why_no_gpu
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

FORMAT = 1  # of gpu-check.json
LEAST = 5.0  # seconds that a check needs to begin with
SECONDS = 480.0  # of all checks together
ROOT = Path(__file__).resolve().parents[3]
LIMITS = {"parity": 120, "tests": 180, "recurrences": 90, "steps": 120, "graph": 60, "compile": 180}  # seconds each
# What deterministic products on a GPU ask for, before the first of them.
ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


class Check(NamedTuple):
    """A name, seconds that it may take, and the command that prints its lines as JSON."""

    name: str
    limit: float
    command: list[str]


@dataclass
class Outcome:
    """How a check went, and the lines that it printed."""

    name: str
    status: Status = "pending"
    reason: str = ""
    seconds: float = 0.0
    lines: list[Line] = field(default_factory=list)


def checks_on(device: str, quick: bool) -> list[Check]:
    """Return the checks of a device, "cuda" or "cpu"."""
    child = [sys.executable, "-m", "benchmark.bench.gpu.child"]
    return [Check(name, limit, [*child, name, device, "quick" if quick else "full"]) for name, limit in LIMITS.items()]


def gpu_check(
    out: Path,
    seconds: float = SECONDS,
    quick: bool = False,
    checks: Sequence[Check] | None = None,
    report: Callable[[str], None] = print,
) -> tuple[Table, bool]:
    """Make the checks, write OUT/gpu-check.json and .md after each, and return the table and whether none failed.

    `quick`: tiny sizes, on the CPU where there is no GPU. Without a GPU every check is skipped with the reason.
    `checks` take the place of the usual ones. Raises `UserError` where there is no time at all.
    """
    if not seconds >= 1:
        raise UserError(f"seconds must be at least 1, got {seconds:g}")
    missing = why_no_gpu()
    device = "cpu" if missing else "cuda"
    chosen = checks_on(device, quick) if checks is None else checks
    outcomes, began = [Outcome(check.name) for check in chosen], time.monotonic()
    about = {"format": FORMAT, "commit": commit(), "quick": quick, "device": device, "machine": facts(device)}
    for check, outcome in zip(chosen, outcomes, strict=True):
        left = seconds - (time.monotonic() - began)
        if missing and not quick:
            outcome.status, outcome.reason = "skipped", missing
        elif left < LEAST:
            outcome.status, outcome.reason = "skipped", f"no time was left of {seconds:g} seconds"
        else:
            report(f"checking {check.name}: at most {min(check.limit, left):.0f} seconds ...")
            run(check, outcome, left)
        spent = {"seconds": round(time.monotonic() - began, 1), "limit": seconds}
        result = about | spent | {"checks": [asdict(each) for each in outcomes]}
        table = as_table(result)
        write_atomically(out / "gpu-check.json", (json.dumps(result, indent=1) + "\n").encode())
        write_atomically(out / "gpu-check.md", table.markdown().encode())
    return table, all(outcome.status != "failed" for outcome in outcomes)


def run(check: Check, outcome: Outcome, left: float) -> None:
    """Run a check and fill in its outcome; it and what it has started are killed after its limit or the time left."""
    limit, began = min(check.limit, left), time.monotonic()
    process = subprocess.Popen(
        check.command, cwd=ROOT, env=os.environ | ENVIRONMENT, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
    )  # fmt: skip
    stopped = False
    try:
        stdout, stderr = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        stopped = True
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    outcome.seconds = round(time.monotonic() - began, 1)
    said = stdout.split("\n")[:-1]  # whole lines
    outcome.lines = [Line(**json.loads(line)) for line in said if line.startswith('{"what": ')]
    statuses = {line.status for line in outcome.lines}
    if stopped and limit < check.limit:
        outcome.status, outcome.reason = "skipped", f"stopped after {limit:.0f} seconds: no time was left"
    elif stopped:
        outcome.status, outcome.reason = "failed", f"stopped after {limit:.0f} seconds, its limit"
    elif process.returncode:
        last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
        outcome.status, outcome.reason = "failed", f"exit code {process.returncode}: {last}"
    elif not statuses:
        outcome.status, outcome.reason = "failed", "it ended without a result"
    else:
        outcome.status = "skipped" if statuses == {"skipped"} else "passed"
    if "failed" in statuses:
        outcome.status = "failed"


def facts(device: str) -> dict[str, Any]:
    """Return what the results depend on: processor, versions and, on a GPU, card, driver and libraries."""
    found = machine(threads=1) | {"torch_cuda": torch.version.cuda, "triton": _version("triton")}
    names = ("gpu", "capability", "gpu_memory_mb", "driver", "cudnn")
    if device != "cuda":
        return found | dict.fromkeys(names)
    card = torch.cuda.get_device_properties(0)
    capability = f"{card.major}.{card.minor}"
    memory = round(card.total_memory / 1e6)
    values = (card.name, capability, memory, _driver(), torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return found | dict(zip(names, values, strict=True))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().partition("\n")[0] or None


def as_table(result: dict[str, Any]) -> Table:
    """Return the table of a gpu-check.json."""
    rows = []
    for check in result["checks"]:
        rows.append((check["name"], "", check["status"], check["reason"] or f"{check['seconds']:g} s"))
        for line in check["lines"]:
            figures = [
                f"{name.replace('_', ' ')} {_shown(value)}"
                for name, value in line["figures"].items()
                if value is not None
            ]
            said = "; ".join([line["reason"], *figures] if line["reason"] else figures)
            rows.append(("", line["what"], line["status"], said))
    about = result["machine"]
    notes = (
        f"{about['gpu'] or 'no GPU'}; driver {about['driver']}; torch {about['torch']}, built for CUDA "
        f"{about['torch_cuda']}; cuDNN {about['cudnn']}; Triton {about['triton']}; {about['processor']}.",
        f"Commit {result['commit']}; {result['seconds']:g} of {result['limit']:g} seconds. Times are medians of calls "
        "that take turns; error: the largest difference from float64, of the tensor's largest number.",
    )
    quick = " (quick: tiny sizes, no figures to quote)" if result["quick"] else ""
    return Table(f"GPU check{quick}", (Section("", ("check", "what", "result", "figures"), tuple(rows)),), notes, ())


def _shown(value: Any) -> str:
    value = value["median"] if isinstance(value, dict) else value
    return f"{value:.3g}" if isinstance(value, float) else str(value)
