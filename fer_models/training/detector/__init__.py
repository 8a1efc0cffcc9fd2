"""Training of the compact face detector."""
