"""The seven emotions, in the one order that every array, table and model of Fervid uses."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
