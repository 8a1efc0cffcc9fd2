"""docs/schema.md, made from the columns themselves: `python -m analytics.tables.schema_page > docs/schema.md`."""

from analytics.tables.result_schemas import ANSWERS
from analytics.tables.schema import VIEWS


def schema_markdown() -> str:
    """All tables, and the answers that explain themselves nowhere else, as the Markdown of docs/schema.md."""
    lines = [
        "# Tables",
        "",
        "Made by `python -m analytics.tables.schema_page > docs/schema.md`; do not edit.",
        "",
        "Units stand in the names. NULL means not known, never 0. Spans of time are half-open.",
    ]
    answers = {f"Answer: {name}": schema for name, schema in ANSWERS.items()}
    for name, schema in {**VIEWS, **answers}.items():
        lines += ["", f"## {name}", "", schema.metadata[b"description"].decode(), ""]
        lines += ["| column | type | unit | NULL | meaning |", "|---|---|---|---|---|"]
        for field in schema:
            unit, meaning = field.metadata[b"unit"].decode(), field.metadata[b"description"].decode()
            kind = str(field.type).replace("<element: ", "<")
            lines.append(f"| `{field.name}` | {kind} | {unit} | {'yes' if field.nullable else 'no'} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(schema_markdown(), end="")
