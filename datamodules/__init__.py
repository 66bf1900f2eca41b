"""Data sets, protocols, samples and batches."""
