"""Measurements of speed and accuracy, which need no test to pass."""
