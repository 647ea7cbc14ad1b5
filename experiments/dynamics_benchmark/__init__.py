"""Inverse dynamics beside its peers: what `benchmark.py dynamics` runs."""
