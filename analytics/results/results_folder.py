"""The file that marks a results folder and has its format version."""

from analytics.errors import StoreError
from analytics.results.storage_paths import StoragePath, read_json, translate_client_errors

FORMAT_VERSION = 1
MARKER_NAME = "fervid.json"


def check_results(root: StoragePath) -> None:
    """Check that `root` is a results folder that this version can read.

    Raises:
        StoreError: if it is not.
    """
    try:
        version = read_json(root / MARKER_NAME)["format_version"]
    except FileNotFoundError:
        raise StoreError(
            f"{root}: not a results folder, it has no {MARKER_NAME}: give the folder passed to `--out`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{root / MARKER_NAME}: cannot be read: {error!r}") from error
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{root}: results of format {version!r}, this Fervid reads {FORMAT_VERSION}: upgrade Fervid, or use "
            "another folder"
        )


def is_initialized(root: StoragePath) -> bool:
    """Whether `root` is already a results folder; False if it is missing or empty. Writes nothing.

    Raises:
        StoreError: if it contains other files.
        StorageError: if the object store cannot be reached.
    """
    with translate_client_errors(root):
        if (root / MARKER_NAME).exists():
            return True
        if root.exists() and not root.is_dir():
            raise StoreError(f"{root}: not a folder: give another one")
        if root.is_dir() and any(not entry.name.startswith(".") for entry in root.iterdir()):
            raise StoreError(f"{root}: neither empty nor a results folder: give a new or an empty folder")
    return False
