"""Analysis of live streams."""
