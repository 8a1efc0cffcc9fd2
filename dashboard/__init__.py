"""Shows what `analytics` answers, in a browser; loads no torch."""
