"""Backbones and the model folder."""
