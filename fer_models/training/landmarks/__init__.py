"""Training of the landmark network on the labels of a teacher."""
