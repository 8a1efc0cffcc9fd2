"""The seven emotions, in the one order that every array, table and model of Fervid uses, and their colors."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

# Told apart by people who see colors differently (after Okabe and Ito 2008, "Color Universal Design").
EMOTION_COLORS = dict(
    zip(EMOTIONS, ("#D55E00", "#009E73", "#CC79A7", "#E6AB02", "#0072B2", "#56B4E9", "#9AA0A6"), strict=True)
)
