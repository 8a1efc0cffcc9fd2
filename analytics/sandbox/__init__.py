"""Run SQL written by users in a separate process."""
