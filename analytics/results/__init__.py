"""The results folder: storage, catalog, compaction, deletion and status."""
