"""What records say: metrics, comparisons of models, intervals, probes, evolving interests."""
