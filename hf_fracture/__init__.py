"""Trains, measures, publishes and serves fracture radiograph classifiers."""
