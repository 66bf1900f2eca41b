"""The processes of a run on several devices: the one that was given the run is rank 0 and starts the others.

Each makes the same batches from the seed and trains on its share of them; each evaluates all test samples, and rank 0's
figures are the run's. Lightning takes processes that were started like this as they are.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import torch.distributed as dist

from benchmark.config import RunConfig
from benchmark.executors.crew import environment
from benchmark.run import follow

ENDS_WITHIN = 60.0  # seconds that the others have once rank 0 is done


@contextmanager
def other_ranks(config: RunConfig) -> Iterator[None]:
    """Be rank 0 of `config.devices` processes; the others train the same run, and end with this one."""
    if config.devices == 1:
        yield
        return
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0", "LOCAL_RANK": "0"}
    command = [sys.executable, "-m", "benchmark.ranks", json.dumps(asdict(config))]
    others: list[subprocess.Popen[bytes]] = []
    try:
        with environment(group):
            for rank in range(1, config.devices):
                others.append(subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(rank)}))
            yield
        for other in others:
            other.wait(ENDS_WITHIN)
    finally:
        for other in others:
            other.kill()
            other.wait()
        if dist.is_initialized():
            dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


if __name__ == "__main__":
    follow(RunConfig(**json.loads(sys.argv[1])))
    dist.destroy_process_group()
