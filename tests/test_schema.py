from pathlib import Path

import pytest

from analytics.tables.result_schemas import ANSWERS
from analytics.tables.schema import VIEWS
from analytics.tables.schema_page import schema_markdown

DOCS = Path(__file__).parents[1] / "docs" / "schema.md"


def test_docs_are_those_of_the_schema():
    assert DOCS.read_text(encoding="utf-8") == schema_markdown(), (
        "run: python -m analytics.tables.schema_page > docs/schema.md"
    )


@pytest.mark.parametrize(
    "schema", [*VIEWS.values(), *ANSWERS.values()], ids=[*VIEWS, *(f"answer {a}" for a in ANSWERS)]
)
def test_every_column_says_what_it_is(schema):
    for field in schema:
        assert field.metadata[b"description"], field.name
        for ending, unit in (("_s", b"s"), ("_px", b"px"), ("_bytes", b"bytes"), ("_deg", "°".encode())):
            if field.name.endswith(ending) and field.name != "frames_per_s":
                assert field.metadata[b"unit"] == unit, field.name
