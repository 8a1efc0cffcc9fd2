"""The seven emotions in the order that all arrays, tables and models of Fervid use, their synonyms and their colors."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

# Other names of the emotions, in data sets, models and coding schemes.
SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}

# Distinguishable with color vision deficiency (after Okabe and Ito 2008, "Color Universal Design").
EMOTION_COLORS = dict(
    zip(EMOTIONS, ("#D55E00", "#009E73", "#CC79A7", "#E6AB02", "#0072B2", "#56B4E9", "#9AA0A6"), strict=True)
)


def emotion_named(name: str) -> str | None:
    """Return the emotion of this name or synonym, in any case; None for any other name.

    >>> emotion_named("Happiness"), emotion_named(" FEAR"), emotion_named("contempt")
    ('happy', 'fear', None)
    """
    name = name.strip().lower()
    return name if name in EMOTIONS else SYNONYMS.get(name)
