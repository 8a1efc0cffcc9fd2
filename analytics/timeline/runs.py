"""Runs: successive rows with equal keys, such as the faces of a track."""

import numpy as np

from analytics.time_tolerance import is_longer


def begins_run(keys: np.ndarray) -> np.ndarray:
    """Whether the key of each row differs from that of the row before it; the first one does.

    >>> begins_run(np.array([4, 4, 7, 4])).tolist()
    [True, False, True, True]
    """
    return np.concatenate([np.ones(min(1, len(keys)), bool), keys[1:] != keys[:-1]])


def after_gap(start_s: np.ndarray, end_s: np.ndarray, max_gap_s: float) -> np.ndarray:
    """Whether each row starts more than `max_gap_s` after the end of the one before it; False for the first.

    >>> after_gap(np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 4.0]), 0.5).tolist()
    [False, False, True]
    """
    is_gap = is_longer(start_s[1:] - end_s[:-1], max_gap_s)
    return np.concatenate([np.zeros(min(1, len(start_s)), bool), is_gap])


def number_runs(is_new: np.ndarray) -> np.ndarray:
    """Number the runs of rows, given where they begin, from 0.

    >>> number_runs(begins_run(np.array([4, 4, 7, 4]))).tolist()
    [0, 0, 1, 2]
    """
    return np.cumsum(is_new) - 1
