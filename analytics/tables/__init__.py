"""Columns of every table, and their conversion between NumPy, Arrow and files."""
