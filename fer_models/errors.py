"""The base class of every expected failure."""


class FervidError(Exception):
    """An expected failure, shown in one line without a traceback.

    The message names the file or value, what happened, and what to do next.
    """
