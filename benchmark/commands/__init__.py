"""The commands of `dien-bench`, a file for each group; `benchmark.cli` puts them together."""
