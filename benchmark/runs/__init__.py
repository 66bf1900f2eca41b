"""One run: configuration, training, checkpoint, weights, failure."""
