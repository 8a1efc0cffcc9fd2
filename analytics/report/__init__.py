"""The report: one self-contained page about a results folder that a person can mail, print and read offline."""

from datetime import UTC, datetime
from pathlib import Path

from analytics.queries.connection import connect
from analytics.report.library import Library
from analytics.report.markup import text
from analytics.report.sections import failures, method, overview, quality, settings, tiles
from analytics.report.timelines import timelines
from analytics.report.words import MEANING, STYLE
from analytics.results.store import write_atomic
from fer_models.errors import FervidError

__all__ = ["ReportError", "report_page", "write_report"]


class ReportError(FervidError):
    """There is nothing to report."""


def write_report(results: Path, out: Path) -> None:
    """Write the report on all videos of a results folder as one HTML file.

    Raises:
        ReportError: if there is no video in it.
        StoreError: if `results` is no results folder, or `out` cannot be written.
    """
    page = report_page(results)
    write_atomic(out, lambda part: part.write_text(page, encoding="utf-8"))


def report_page(results: Path) -> str:
    """The page as text; it loads nothing and runs nothing.

    Raises:
        ReportError: if there is no video in it.
        StoreError: if `results` is no results folder.
    """
    name = text(results.absolute().name)
    with connect(results, observations=False) as connection:
        library = Library(connection)
        if not library.videos:
            raise ReportError(f"{results}: no video has been analyzed: nothing to report")
        sections = [
            f"<header><h1>Emotion timelines</h1><p class='soft'>{name}, "
            f"as of {datetime.now(UTC):%d %B %Y, %H:%M} UTC</p></header><main>",
            tiles(library),
            f'<div class="note" role="note">{MEANING}</div>',
            overview(library),
            timelines(connection, library),
            quality(library),
            failures(library),
            method(),
            settings(library),
            "</main>",
        ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Emotion timelines: {name}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )
