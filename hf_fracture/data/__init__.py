"""Radiograph reading, dataset sources, audit, splits, transforms and phantoms."""
