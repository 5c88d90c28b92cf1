"""A module of the `evaluate` library; load the folder with `evaluate.load`."""
