"""What the pages and the player show: results, media files, notes, markers, runs and trainings."""
