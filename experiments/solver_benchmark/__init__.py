"""ImDyS beside the same network in PyTorch: what `benchmark.py solver` runs."""
