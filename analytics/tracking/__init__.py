"""From faces in frames to people: shot boundaries, tracking, tracklets and re-identification."""
