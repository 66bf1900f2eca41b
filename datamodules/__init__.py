"""Data sets, protocols, samples and batches."""

BATCH_SIZE = 128  # samples a step (released code)
