"""What is there of a run that has ended: its record, by which it is not run again; and what a failed one leaves."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.analysis.verify import check_metrics
from benchmark.records.record import FILE_NAME, Record, read_record, write_record
from benchmark.runs.config import CHECKPOINT, RunConfig, data_of, lock_of
from benchmark.runs.identity import check_identity, code_sha256
from benchmark.runs.result import identity_of, origin_of, versions
from datamodules.errors import UserError, printable
from datamodules.files.lock import Busy, take
from datamodules.protocol import get_protocol
from datamodules.samples.file import stored_sha256

if TYPE_CHECKING:  # a sweep only notes what its workers met
    from baselines.lightning_module import NotFinite
    from datamodules.datamodule import InteractionsDataModule

BAD_BATCH = "nan-batch.pt"


def finished_record(config: RunConfig) -> dict[str, Any] | None:
    """Return the record of a run of the same identity and settings, finished or failed, None where there is none.

    Raises `UserError` where the folder holds a damaged record, one of another run, one that its predictions do not bear
    out, or one of other settings, samples or code, and where another seed of the row was trained by other code: nothing
    is overwritten silently, and numbers of different code do not become one row.
    """
    path = config.folder() / FILE_NAME
    if not path.exists():
        check_other_seeds(config)
        return None
    found = read_record(path)
    wanted = config.settings()
    differing = [key for key in wanted if wanted[key] is not None and found.settings.get(key) != wanted[key]]
    differing += ["steps"] if config.steps is None and not found.settings.get("steps_by_default") else []
    differing = [key for key in differing if key != "model"]  # the label says which, and its file has a hash
    if differing:
        key = differing[0]
        raise UserError(
            f"{path.parent} holds a run with {key} = {found.settings.get(key)}, asked for was "
            f"{wanted[key] if wanted[key] is not None else 'the default'}: "
            "choose another output folder (OUT=..., --out ...), move that one away, or train it again with --fresh, "
            "which removes it"
        )
    check_same(found, config)
    if found.status == "finished":
        check_metrics(found)
        (path.parent / CHECKPOINT).unlink(missing_ok=True)  # left where it was killed right behind its record
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return record


def check_other_seeds(config: RunConfig) -> None:
    """Raise `UserError` where another seed of the row was trained by other code or on other samples."""
    folder = config.folder()
    for path in sorted(folder.parent.glob(f"seed-*/{FILE_NAME}")):
        if path.parent != folder:
            check_same(read_record(path), config)


def has_failed(config: RunConfig) -> bool:
    """Whether the record of a run is that of a failure."""
    path = config.folder() / FILE_NAME
    return path.exists() and read_record(path).status == "failed"


def check_same(found: Record, config: RunConfig) -> None:
    """Raise `UserError` where a run was trained by other code or on other samples than `config` would be now.

    One that failed has no numbers to be mixed with others, and passes.
    """
    if found.status == "finished":
        protocol_hash = get_protocol(config.protocol).hash
        check_identity(
            found,
            config.model,
            protocol_hash,
            stored_sha256(config.dataset, config.protocol, Path(config.data_dir)),
            versions(config.device),
        )


def record_failure(config: RunConfig, reason: str, step: int = 0) -> None:
    """Write the record of a run that failed after `step` steps, unless another process runs it or has finished it.

    Raises `UserError` where the data set cannot be read or nothing can be written.
    """
    try:
        lock = take(lock_of(config))
    except Busy:
        return
    try:
        path = config.folder() / FILE_NAME
        if not path.exists():
            shown = printable(" ".join(reason.split())) or "no reason is known"  # a record holds text that shows
            write_record(path, _failed_record(config, shown, step))
    finally:
        lock.release()


def forget_failure(config: RunConfig) -> None:
    """Remove the record of a failed run, so that it is run again."""
    path = config.folder() / FILE_NAME
    try:
        lock = take(lock_of(config))
    except (Busy, FileNotFoundError):
        return
    try:
        if has_failed(config):
            path.unlink()
    finally:
        lock.release()


def keep_bad_batch(data: "InteractionsDataModule", error: "NotFinite", folder: Path) -> Path:
    """Write the batch of the step with the first bad loss, and the one before, whose update may have caused it."""
    import torch  # here: a sweep reads records, and need not wait for it

    batches = data.training_batches()
    kept: dict[str, Any] = {"step": error.step, "what": str(error)}
    for name, number in (("batch", error.step - 1), ("batch_before", error.step - 2)):
        if 0 <= number < len(batches):
            kept[name] = batches[number].as_dict()
    torch.save(kept, folder / BAD_BATCH)
    return folder / BAD_BATCH


def _failed_record(config: RunConfig, reason: str, step: int) -> dict[str, Any]:
    data = data_of(config)
    data.setup()
    return {
        **identity_of(config, data),
        "auc": {"last": None, "validation": None, "test": None},
        "gauc": None,
        "logloss": None,
        "calibration": None,
        "best_step": None,
        "epochs": 0,
        "steps": step,
        "parameters": 0,
        "train_seconds": 0,
        "evaluation_seconds": 0,
        "processor_seconds": None,
        "samples_per_second": 0,
        "peak_memory_mb": 0,  # nobody measured it
        **origin_of(config, data, code_sha256(config.model)),
        "settings": config.settings() | {"steps": data.steps, "steps_by_default": config.steps is None},
        "status": "failed",
        "reason": reason,
    }
