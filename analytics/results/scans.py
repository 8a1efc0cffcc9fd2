"""Arrow datasets whose scans cannot deadlock when a file is damaged.

`pyarrow.dataset.Scanner.to_reader`, which DuckDB calls, holds Python's global lock while it starts the scan (pyarrow
26). If a thread of the same scan meanwhile reports an exception that one of Fervid's file handlers raised, that thread
needs the lock in order to format the exception, and holds the scan's own lock: both threads wait forever.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds


class Dataset(ds.FileSystemDataset):  # type: ignore[misc]  # pyarrow has no type stubs
    """A dataset of files that is scanned through a `Scan`; its fragments, which are slow to make, are made then."""

    def __init__(
        self, make_fragments: Callable[[], list[ds.Fragment]], schema: pa.Schema, form: ds.FileFormat, fs: Any
    ) -> None:
        super().__init__([], schema, form, fs)
        self._make_fragments = make_fragments

    @cached_property
    def _files(self) -> ds.FileSystemDataset:
        return ds.FileSystemDataset(self._make_fragments(), self.schema, self.format, self.filesystem)

    def scanner(self, **options: Any) -> "Scan":
        """A scan of these columns and rows; the options are those of `pyarrow.dataset.Dataset.scanner`."""
        return Scan(self._files.scanner(**options))


class Scan:
    """A scanner that releases Python's global lock while it starts and while it waits for data."""

    def __init__(self, scanner: ds.Scanner) -> None:
        self._scanner = scanner

    def to_table(self) -> pa.Table:
        """All rows."""
        return self._scanner.to_table()

    def to_reader(self) -> pa.RecordBatchReader:
        """A stream of the rows; the scan starts at once."""
        return pa.RecordBatchReader.from_batches(self._scanner.projected_schema, self._scanner.to_batches())
