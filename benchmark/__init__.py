"""Command line, runs, sweeps, tables and figures."""
