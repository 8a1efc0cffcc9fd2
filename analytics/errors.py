"""Errors that several packages of `analytics` raise."""

from fer_models.errors import FervidError

TOO_SLOW = "the query was stopped after {:g} s: select less, such as one video, or allow more time"
TOO_LARGE = "the query needs more memory than it may use: select less, such as one video, or allow more"


class QueryError(FervidError):
    """A query is not a single SELECT, is invalid, takes too long, needs too much memory, or returns too much."""


class StoreError(FervidError):
    """A folder is not a results folder, is of a newer format, is full, or lacks what was asked for."""


class SegmentError(StoreError):
    """A segment of a video is missing or damaged, which affects no other video."""
