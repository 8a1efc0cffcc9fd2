"""Benchmarks of speed and accuracy, which are not part of the test suite."""
