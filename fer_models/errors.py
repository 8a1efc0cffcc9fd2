"""The base class of expected failures, and those that must be recognized without importing torch."""


class FervidError(Exception):
    """An expected failure, shown in one line without a traceback.

    The message names the file or value, what happened, and what to do next.
    """


class DeviceError(FervidError):
    """The requested device is not available."""


class InstallationError(FervidError):
    """Installed packages do not work together."""


class PredictionError(FervidError):
    """A model returned no valid values for a face."""
