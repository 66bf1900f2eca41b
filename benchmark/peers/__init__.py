"""DIEN of other packages, in an environment of their own; files and lines of JSON are all that is exchanged."""
