"""Model folders and their cards: find, read, verify, download and register them."""
