"""Version of the observations; importing it loads nothing else."""

# Part of every observation_id: increase it when the same settings give different results.
OBSERVE_VERSION = 4
