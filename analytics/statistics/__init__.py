"""Statistical estimates with intervals, as functions of arrays; no files, no SQL. See docs/statistics.md."""
