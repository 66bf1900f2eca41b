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
from contextlib import contextmanager, suppress
from dataclasses import asdict
from multiprocessing import Pipe

import torch.distributed as dist

from benchmark.runs.config import RunConfig
from benchmark.runs.process import ProcessDied, environment, how_it_ended, own_variables

ENDS_WITHIN = 60.0  # seconds that the others have once rank 0 is done
DIES_WITHIN = 1.0  # seconds that pass at most between a broken connection and the end of the process behind it


class _Rank:
    """Another process of a run. It lives no longer than this one: the pipe between them breaks when this one ends."""

    def __init__(self, rank: int, config: RunConfig) -> None:
        self.name = f"process {rank} of 0 to {config.devices - 1}"
        self.connection, theirs = Pipe()
        command = [
            sys.executable,
            "-m",
            "benchmark.runs.ddp_follower",
            json.dumps(asdict(config)),
            str(theirs.fileno()),
        ]
        environ = os.environ | own_variables() | {"LOCAL_RANK": str(rank)}
        with theirs:
            self.process = subprocess.Popen(command, env=environ, pass_fds=[theirs.fileno()])

    def wait_until_ready(self, resumed_at: int) -> None:
        """Return when it is about to train; whoever waits for it in a collective waits for half an hour, if it died."""
        try:
            step = self.connection.recv()
        except (EOFError, ConnectionError):
            raise ProcessDied(f"{self.name} {how_it_ended(self.process.wait())}") from None
        if step != resumed_at:
            raise RuntimeError(f"{self.name} would go on from step {step}, not {resumed_at}")

    def was_killed(self) -> bool:
        """Whether a signal has ended it, now that a connection to it is broken."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(DIES_WITHIN) < 0
        return False

    def end(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


@contextmanager
def other_ranks(config: RunConfig, resumed_at: int) -> Iterator[None]:
    """Be rank 0 of `config.devices` processes; the others train the same run from `resumed_at`, and end with this one.

    Raises `ProcessDied` where one of them is killed.
    """
    if config.devices == 1:
        yield
        return
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0", "LOCAL_RANK": "0"}
    group |= {"TORCHELASTIC_USE_AGENT_STORE": "False"}  # of a torchrun around this process
    others: list[_Rank] = []
    try:
        with environment(group):
            for rank in range(1, config.devices):
                others.append(_Rank(rank, config))
            for other in others:
                other.wait_until_ready(resumed_at)
            yield
        for other in others:
            other.process.wait(ENDS_WITHIN)
    except RuntimeError as error:  # of gloo or NCCL, over a connection that broke
        for other in others:
            if other.was_killed():
                raise ProcessDied(f"{other.name} {how_it_ended(other.process.returncode)}") from error
        raise
    finally:
        for other in others:
            other.end()
        if dist.is_initialized():
            dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
