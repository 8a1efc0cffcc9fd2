"""Emotion classifiers: network architectures, and `EmotionClassifier` for inference with them."""
