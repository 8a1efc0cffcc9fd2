"""Kinds of failures of an analysis: fatal ones, and those that a retry may overcome."""

import errno

from analytics.errors import StoreError
from analytics.results.storage_paths import StorageError
from fer_models.errors import DeviceError
from fer_models.registry.model_card import WeightsError

# Error numbers of disks and network shares that may be temporary.
TRANSIENT_ERRNO = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENETDOWN, errno.ESTALE, errno.ETIMEDOUT}
# Fatal errors: they would affect every remaining video.
FATAL = (StoreError, StorageError, WeightsError, DeviceError)


class VideoFailed(Exception):
    """A video could not be analyzed; its row in the table `videos` has the reason."""


def is_transient(error: BaseException | None) -> bool:
    """Whether a failure may be temporary: an I/O error while reading a file, but never a damaged file."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNO:
            return True
        error = error.__cause__
    return False
