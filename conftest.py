"""Modules whose doctests are left out because what they import is an optional dependency that is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["baselines/layers/recurrent_triton.py"]
