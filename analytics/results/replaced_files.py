"""Find and mark files that were replaced after their analysis, by new content or by copies of other analyzed videos."""

import shlex
from collections.abc import Iterable, Mapping

from analytics.results.catalog import latest_rows, read_catalog
from analytics.results.storage_paths import StoragePath
from analytics.results.store import Store
from analytics.results.video_record import VideoRecord, newest_by_path, video_records
from analytics.results.videos import file_name

MAX_NAMED = 3  # maximum number of file names in the note


def mark_replaced_files(store: Store, found: Mapping[str, str]) -> None:
    """Mark the rows of files that a run has found to have the content of another video.

    The row of that video may have another path, of a file with the same content.

    Args:
        store: the results.
        found: for each path, as in the table `videos`, the id of the video that is there now.
    """
    shown, _ = latest_rows(read_catalog(store.root, skip_damaged=True).rows)
    for row in video_records(shown):
        if found.get(row.path, row.video_id) != row.video_id and not row.is_replaced:
            store.mark_as_replaced(row.video_id, row.analysis_id)


def replaced_files_note(results: StoragePath, videos: Iterable[VideoRecord]) -> str | None:
    """A sentence on files of which an earlier content is in the results, too, and how to remove it; None without any.

    A renamed file gets its new path when it is analyzed again, so the earlier content exists no longer, or where no run
    has read it.

    Args:
        results: the results folder, for the command in the sentence.
        videos: the rows of the view `videos`.
    """
    done = [video for video in videos if video.status == "done"]
    newest = newest_by_path(video for video in done if not video.is_replaced)
    replaced = sorted((video.path, video.video_id) for video in done if video is not newest.get(video.path))
    if not replaced:
        return None
    names = [file_name(path) for path in dict.fromkeys(path for path, _ in replaced)]
    shown = ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
    options = [part for _, video_id in replaced for part in ("--video", video_id)]
    return (
        f"{shown}: replaced after the analysis. The results of the earlier content count, too. If another file has it "
        f"now, analyze that file; else remove them: {shlex.join(['fervid', 'purge', str(results), *options])}"
    )
