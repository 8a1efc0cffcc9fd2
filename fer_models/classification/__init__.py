"""Emotion classifiers: the networks, the training that makes them, and `EmotionClassifier` that uses them."""
