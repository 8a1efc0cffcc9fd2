"""Version of the observations; importing it loads nothing else."""

# Version of pass 1, part of every observation_id. Increase it when the same settings give different results.
OBSERVE_VERSION = 8
