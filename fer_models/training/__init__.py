"""Training of emotion classifiers, face detectors and landmark networks."""
