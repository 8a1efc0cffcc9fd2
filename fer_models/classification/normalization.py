"""How crops are normalized before a classifier sees them."""

# Of pixels scaled to 0..1; close to FER-2013's own mean of 0.51 and standard deviation of 0.26.
MEAN, STD = 0.5, 0.25
