"""Add models to the registry: download, register, combine and verify them."""
