"""Numpy arrays to Arrow columns and back, where NaN and a negative code mean NULL."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fer_models.labels import EMOTIONS


def to_column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """An Arrow column of `kind`; NaN becomes NULL."""
    return pa.array(values.astype(kind.to_pandas_dtype(), copy=False), kind, from_pandas=True)


def decode_categories(codes: np.ndarray, names: Sequence[str]) -> pa.Array:
    """A text column: `names[code]` for each integer code, NULL where the code is negative.

    >>> decode_categories(np.array([1, -1]), ("ok", "no_face")).to_pylist()
    ['no_face', None]
    """
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(names)).cast(pa.string())


def encode_categories(texts: pa.ChunkedArray, names: Sequence[str]) -> np.ndarray:
    """The index in `names` of each text, `(n,)` int64; -1 for NULL. The inverse of `decode_categories`."""
    found: np.ndarray = pc.index_in(texts.cast(pa.string()), pa.array(names)).fill_null(-1).to_numpy().astype(np.int64)
    return found


def emotion_columns(prefix: str, values: np.ndarray) -> dict[str, pa.Array]:
    """Seven float32 columns `prefix_angry` … from `(n, 7)`; NaN becomes NULL."""
    return {f"{prefix}_{name}": to_column(values[:, index], pa.float32()) for index, name in enumerate(EMOTIONS)}


def to_float_array(table: pa.Table, *names: str) -> np.ndarray:
    """Columns as float64, shape `(n,)` for one and `(n, k)` for several; NULL becomes NaN."""
    values = [table[name].to_numpy().astype(np.float64) for name in names]
    return values[0] if len(values) == 1 else np.column_stack(values)
