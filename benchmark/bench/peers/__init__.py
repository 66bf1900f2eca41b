"""Other packages' DIEN on the same batches."""
