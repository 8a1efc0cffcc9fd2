"""Metrics, plots and comparisons of models."""
