"""The tables of `benchmarks/quality.py`."""

import numpy as np
import torch

from benchmarks.quality import SCORE_EDGES, Evaluation


def test_every_score_falls_into_one_bin():
    """Scores at the edges belong to the bin above, and a score of exactly 1 to the last one."""
    score = np.array([0.5, 0.7, 0.85, 0.9, 0.95, 1.0])
    n = len(score)
    images = Evaluation(torch.zeros(n, dtype=torch.long), torch.eye(7)[:n], torch.arange(n), torch.arange(n))
    rows = [row.split(" | ")[1:3] for row in images.binned_rows("det_score", score, SCORE_EDGES)]
    assert rows == [["0.5 to 0.6", "1"], ["0.7 to 0.8", "1"], ["0.8 to 0.9", "1"], ["0.9 to 1", "3"]]
