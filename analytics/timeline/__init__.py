"""From observations to timelines: quality filter, baseline, smoothing, episodes and track summaries."""
