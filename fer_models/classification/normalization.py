"""Normalization of the crops that a classifier receives."""

# Mean and standard deviation for pixels scaled to 0..1. FER-2013's own are 0.51 and 0.26.
MEAN, STD = 0.5, 0.25
