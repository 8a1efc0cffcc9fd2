"""Training of emotion classifiers and face detectors."""
