"""Normalization of the pixels that the networks trained by Fervid receive."""

# Mean and standard deviation for pixels scaled to 0..1. Those of FER-2013 are 0.51 and 0.26.
MEAN, STD = 0.5, 0.25
