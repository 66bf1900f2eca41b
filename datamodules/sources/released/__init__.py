"""Data sets that were published as finished samples, with the split, the negatives and the order of their authors."""
