"""Find files that were replaced after they were analyzed: the results then have several videos with one path."""

import shlex
from collections.abc import Iterable

from analytics.results.storage_paths import StoragePath
from analytics.results.video_record import VideoRecord
from analytics.results.videos import file_name

MAX_NAMED = 3  # maximum number of file names in the note


def replaced_files_note(results: StoragePath, videos: Iterable[VideoRecord]) -> str | None:
    """A sentence on files of which an earlier content is in the results, too, and how to remove it; None without any.

    A renamed file gets its new path when it is analyzed again, so only content that exists no longer, or elsewhere, is
    reported.

    Args:
        results: the results folder, for the command in the sentence.
        videos: the rows of the view `videos`.
    """
    of_path: dict[str, list[VideoRecord]] = {}
    for video in sorted(videos, key=lambda video: video.finished_at):
        if video.status == "done":
            of_path.setdefault(video.path, []).append(video)
    replaced = {path: found[:-1] for path, found in of_path.items() if len(found) > 1}
    if not replaced:
        return None
    names = [file_name(path) for path in replaced]
    shown = ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
    earlier = [video.video_id for found in replaced.values() for video in found]
    options = [part for video_id in earlier for part in ("--video", video_id)]
    return (
        f"{shown}: replaced after the analysis. The results of the earlier content count, too; to remove them: "
        f"{shlex.join(['fervid', 'purge', str(results), *options])}"
    )
