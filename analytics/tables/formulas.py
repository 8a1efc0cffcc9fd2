"""Texts in CSV files that a spreadsheet would run as formulas, escaped with an apostrophe."""

import re

import pyarrow as pa
import pyarrow.compute as pc

# What a spreadsheet reads as a formula; apostrophes in front are counted in, so that `restore_text` is exact.
_FORMULA = r"'*[=+\-@\t\r]"
_ESCAPED = re.compile(f"'(?={_FORMULA})")
# A number, also with a decimal comma or in scientific notation.
_NUMBER = r"^[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?$"


def without_formulas(rows: pa.Table) -> pa.Table:
    """Put an apostrophe before texts and column names that a spreadsheet would read as a formula.

    Numbers such as "-1.5" stay.
    """
    for i, field in enumerate(rows.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_string(kind):
            rows = rows.set_column(i, field.name, _without_formulas(rows[i].cast(pa.string())))
    return rows.rename_columns(_without_formulas(pa.array(rows.column_names, pa.string())).to_pylist())


def _without_formulas(text: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    escaped = pc.replace_substring_regex(text, f"^({_FORMULA})", r"'\1")
    return pc.if_else(pc.match_substring_regex(text, _NUMBER), text, escaped)


def restore_text(cell: str) -> str:
    """The text of a cell before `without_formulas`.

    >>> restore_text("'=1+1"), restore_text("''=1+1"), restore_text("'tis")
    ('=1+1', "'=1+1", "'tis")
    """
    return cell[1:] if _ESCAPED.match(cell) else cell
