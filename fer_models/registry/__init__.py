"""Model folders and their cards: find, read and write them."""
