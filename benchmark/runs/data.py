"""The data that a run trains on."""

from benchmark.runs.config import RunConfig
from datamodules.datamodule import InteractionsDataModule


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
