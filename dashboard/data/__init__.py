"""Data of the pages and the player: results, media files, notes, markers, runs and trainings."""
