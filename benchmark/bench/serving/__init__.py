"""Servers measured: the ladder of the paper's serving section, memory over an hour, malformed requests."""
