"""Where learning curves go besides metrics.csv: Weights & Biases, TensorBoard."""
