"""Expand ranges of integers to one row per integer."""

import numpy as np


def expand_ranges(first: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All integers from `first` up to `stop`, exclusive, of each row; returns the row and the integer.

    >>> row, value = expand_ranges(np.array([3, 7, 9]), np.array([5, 7, 10]))
    >>> row.tolist(), value.tolist()
    ([0, 0, 2], [3, 4, 9])
    """
    lengths = np.maximum(stop - first, 0)
    row = np.repeat(np.arange(len(first)), lengths)
    return row, np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[row]
