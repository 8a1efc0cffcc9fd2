"""Measures derived from the seven probabilities of a face: top emotion, entropy, valence and arousal proxies."""

import numpy as np

from fer_models.labels import EMOTIONS

# Angle of each emotion in Russell's circumplex, with pleasure at 0°, arousal at 90° and displeasure at 180°; neutral is
# the center of the circle. docs/statistics.md has the source.
CIRCUMPLEX_DEG = {"happy": 22.5, "surprise": 90.0, "angry": 112.5, "fear": 112.5, "disgust": 157.5, "sad": 202.5}


def _projection(axis: np.ufunc) -> np.ndarray:
    weights = [float(axis(np.deg2rad(CIRCUMPLEX_DEG[name]))) if name in CIRCUMPLEX_DEG else 0.0 for name in EMOTIONS]
    return np.round(np.array(weights), 3)


# (7,) weight of each emotion, in the order of EMOTIONS: angry -0.383 … happy 0.924 … neutral 0
VALENCE_WEIGHTS = _projection(np.cos)
# (7,) weight of each emotion, in the order of EMOTIONS: angry 0.924 … happy 0.383 … neutral 0
AROUSAL_WEIGHTS = _projection(np.sin)


def valence_proxy(probabilities: np.ndarray) -> np.ndarray:
    """Valence from -1 (unpleasant) to 1 (pleasant), `(m,)`: linear in the probabilities `(m, 7)`; NaN where unknown."""
    valence: np.ndarray = probabilities @ VALENCE_WEIGHTS
    return valence


def arousal_proxy(probabilities: np.ndarray) -> np.ndarray:
    """Arousal from -1 (calm) to 1 (excited), `(m,)`: linear in the probabilities `(m, 7)`; NaN where unknown."""
    arousal: np.ndarray = probabilities @ AROUSAL_WEIGHTS
    return arousal


def entropy_bits(probabilities: np.ndarray, p_other: np.ndarray) -> np.ndarray:
    """Entropy in bits, `(m,)`: 0 if certain, log2(7) = 2.81 if seven emotions are equally likely; NaN where unknown.

    Args:
        probabilities: (m, 7).
        p_other: (m,) probability of the model's other classes, which count as one; NaN if it has none.

    >>> entropy_bits(np.array([[0.5, 0.5, 0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0, 0, 0]]), np.array([np.nan, 0.5])).tolist()
    [1.0, 1.0]
    """
    entropy: np.ndarray = _surprise_bits(probabilities).sum(1) + _surprise_bits(np.nan_to_num(p_other))
    return entropy


def _surprise_bits(probabilities: np.ndarray) -> np.ndarray:
    """The terms of the entropy, -p log2 p."""
    terms: np.ndarray = probabilities * np.log2(1 / np.where(probabilities == 0, 1, probabilities))
    return terms


def top_emotion(probabilities: np.ndarray) -> np.ndarray:
    """The index in `EMOTIONS` of the highest probability of each row of `(m, 7)`, int8; -1 where not known."""
    known = ~np.isnan(probabilities[:, 0])
    return np.where(known, probabilities.argmax(1), -1).astype(np.int8)
