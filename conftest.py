"""Threads of the tests, and modules without doctests since what they import is optional and not installed."""

import os
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as a run: threads that wait for each other stall beside other load

collect_ignore = [] if find_spec("triton") else ["baselines/layers/recurrent_triton.py"]
