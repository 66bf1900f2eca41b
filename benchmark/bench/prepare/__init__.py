"""Speed of preparing a data set."""
