"""One file a data set: where it comes from, licence, checksums, expected counts, reader."""
