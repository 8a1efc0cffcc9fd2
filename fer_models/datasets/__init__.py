"""Labeled faces and photographs to train on and to measure with."""
