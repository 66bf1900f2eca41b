"""The variables by which jobs of clusters know their place, and a check that a run in one is as it is outside."""

from pathlib import Path

from benchmark.runs.config import RunConfig

CLUSTERS = {
    "slurm": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"},
    "torchrun": {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"},
    "lsf": {"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "2", "LSB_JOBID": "7", "LSB_DJOB_RANKFILE": "none"},
}


def check_same_files(here: RunConfig, there: RunConfig) -> None:
    for name in ("metrics.csv", "predictions.parquet"):
        assert (there.folder() / name).read_bytes() == (here.folder() / name).read_bytes()
    events = [len(list(Path(each.out).rglob("events.out.tfevents.*"))) for each in (here, there)]
    assert events[0] == events[1] > 0
