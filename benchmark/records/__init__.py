"""What a run leaves: its record, predictions and curves; and the paper's printed figures."""
