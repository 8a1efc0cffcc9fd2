"""Version of the observations; importing it loads nothing else."""

# Version of pass 1, part of every observation_id. Increase it when the same settings give different results.
OBSERVE_VERSION = 14
# First version in which frames of another shape are fitted into that of the first frame, instead of being stretched.
FITTED_SINCE = 9
