"""SQL that people write, run in a process of its own."""
