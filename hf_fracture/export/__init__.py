"""From a model folder to files that run without torch."""
