"""Facial landmarks: 68 points, the irises and the head pose of each face crop, and measures computed from them."""
