"""Data sets of labeled faces and of photographs, for training and evaluation."""
