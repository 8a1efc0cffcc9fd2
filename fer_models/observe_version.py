"""Version of the observations; importing it loads nothing else."""

# Part of every observation_id: increase it when the same settings give other numbers than before.
OBSERVE_VERSION = 3
