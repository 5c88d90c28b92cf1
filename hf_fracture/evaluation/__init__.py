"""Measures of a classifier, with their uncertainty."""
