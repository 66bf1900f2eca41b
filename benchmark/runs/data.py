"""The data that a run trains on."""

import json
from pathlib import Path

import numpy as np

from benchmark.runs.config import RunConfig
from datamodules.datamodule import InteractionsDataModule
from datamodules.files.manifest import load_manifest
from datamodules.protocol import get_protocol


def data_of(config: RunConfig) -> InteractionsDataModule:
    """What a run trains on."""
    settings = config.settings()
    return InteractionsDataModule(
        config.dataset,
        config.protocol,
        data_dir=config.data_dir,
        steps=config.steps,
        batch_size=config.batch_size,
        shuffle=settings["shuffle"],
        auxiliary_negatives=settings["auxiliary_negatives"],
        auxiliary_draws=settings.get("auxiliary_draws", "fresh"),
        seed=config.seed,
    )


def prepared_sha256(config: RunConfig) -> str | None:
    """The hash of the samples that a run would train on, None where they are not made yet; nothing is made."""
    folder, protocol = Path(config.data_dir) / config.dataset, get_protocol(config.protocol)
    if not (folder / "manifest.json").exists():
        return None
    of_these = f"{protocol.name}-{protocol.hash}-{load_manifest(folder)['sha256'][:8]}*.npz"
    for path in sorted(folder.glob(of_these)):
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return str(json.loads(str(stored["header"]))["sha256"])
    return None
