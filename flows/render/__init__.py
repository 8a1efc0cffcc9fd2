"""Render a video with its results drawn in, or with its faces hidden."""
