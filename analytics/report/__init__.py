"""The report: one self-contained HTML page about a results folder, to mail, print and read offline."""

from datetime import UTC, datetime
from pathlib import Path

from analytics.queries.connection import connect
from analytics.report import sections
from analytics.report.library import Library
from analytics.report.templating import page_style, render
from analytics.report.timelines import MAX_VIDEOS, video_cards
from analytics.results.atomic_write import write_atomic
from fer_models.errors import FervidError

__all__ = ["ReportError", "report_page", "write_report"]


class ReportError(FervidError):
    """The results contain no video."""


def write_report(results: Path, out: Path) -> None:
    """Write the report on all videos of a results folder as one HTML file.

    Raises:
        ReportError: if the results contain no video.
        StoreError: if `results` is not a results folder, or `out` cannot be written.
    """
    page = report_page(results)
    write_atomic(out, lambda part: part.write_text(page, encoding="utf-8"))


def report_page(results: Path) -> str:
    """The page as HTML text; it loads no resources and runs no scripts.

    Raises:
        ReportError: if the results contain no video.
        StoreError: if `results` is not a results folder.
    """
    with connect(results, observations=False) as connection:
        library = Library(connection)
        if not library.videos:
            raise ReportError(f"{results}: no video has been analyzed: nothing to report")
        return render(
            "report.html",
            name=results.absolute().name,
            now=f"{datetime.now(UTC):%d %B %Y, %H:%M}",
            style=page_style(),
            figures=sections.figures(library),
            library=library,
            videos=sections.videos_table(library),
            episodes=sections.episodes_table(library),
            timelines=video_cards(connection, library),
            n_more_videos=max(0, len(library.done) - MAX_VIDEOS),
            faces=sections.faces_table(library) if library.n_faces() else None,
            filter_effect=sections.filter_table(library),
            validity=sections.validity_table(library),
            validity_note=sections.validity_note(library),
            detection=sections.detection_sentences(library),
            speech=sections.speech_table(library),
            n_more_people=max(0, len(library.validity) - sections.MAX_VALIDITY_ROWS),
            n_more_speakers=max(0, len(library.speaking) - sections.MAX_VALIDITY_ROWS),
            n_undecoded=sum(count.n_undecoded for count in library.counts.values()),
            failures=sections.failures_table(library),
            settings=sections.settings_groups(library),
        )
