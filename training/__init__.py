"""Datasets, losses, metrics and the programs that train what the engine runs."""
