"""Everything that wants a GPU, in one call: `make gpu-check`."""
