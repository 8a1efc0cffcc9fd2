"""Training of emotion classifiers."""
