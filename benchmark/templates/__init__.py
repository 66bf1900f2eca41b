"""What `dien-bench new-model` writes: a model and its test, which work as they are."""
