"""The commands of `dien-bench`: each file parses, calls and prints."""
