"""Options of a model chosen by a search on validation samples."""
