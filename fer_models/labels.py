"""The seven emotions in the order that all arrays, tables and models of Fervid use, and their colors."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

# Distinguishable with color vision deficiency (after Okabe and Ito 2008, "Color Universal Design").
EMOTION_COLORS = dict(
    zip(EMOTIONS, ("#D55E00", "#009E73", "#CC79A7", "#E6AB02", "#0072B2", "#56B4E9", "#9AA0A6"), strict=True)
)
