"""Trained runs at work: a server with batches across users, and a load generator that measures it."""
