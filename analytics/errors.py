"""Errors that several packages of `analytics` raise."""

from fer_models.errors import FervidError

TOO_SLOW = "the query was stopped after {:g} s: select less, such as one video, or allow more time"
TOO_LARGE = "the query needs more memory than it may use: select less, such as one video, or allow more"


class QueryError(FervidError):
    """A query is not one SELECT, is wrong, takes too long, or needs or returns too much."""


class StoreError(FervidError):
    """A folder is not a results folder, is of a newer format, is full, or lacks what was asked for."""
