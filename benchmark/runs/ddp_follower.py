"""A process of a run on several devices that is not rank 0: `benchmark.runs.ddp` starts it.

`python -m benchmark.runs.ddp_follower CONFIG DESCRIPTOR`: a run's configuration as JSON, and the pipe to rank 0.
"""

import json
import os
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

from benchmark.runs.process import collect_seldom, make_streams_lenient


def _end_with(rank_0: Connection) -> NoReturn:
    """End this process as soon as rank 0 has ended, whatever it does: it may wait where it would never be found."""
    with suppress(EOFError, OSError):
        rank_0.recv()
    os._exit(1)


if __name__ == "__main__":
    make_streams_lenient()
    collect_seldom()
    rank_0 = Connection(int(sys.argv[2]))
    threading.Thread(target=_end_with, args=[rank_0], daemon=True).start()  # before the imports, which take seconds
    import torch.distributed as dist

    from benchmark.runs.config import RunConfig
    from benchmark.runs.train import follow

    follow(RunConfig(**json.loads(sys.argv[1])), rank_0.send)
    dist.destroy_process_group()
