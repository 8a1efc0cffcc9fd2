"""Removing videos from a results folder for good: rows, observations, failures and whatever else is kept of them.

Everything that is kept of a video lies in folders named `video_id=…`, one in each table. That in `videos` is moved away
first, so that from one moment to the next no reader finds the video; then the others; then all of it is deleted where
it was moved to. A purge that is cut short is finished by the next one, from what it finds there.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.catalog import REMEMBERED
from analytics.store import StoreError, check_results
from analytics.videos import choose_videos

_DOOMED = ".purging"  # where folders are moved to, as `table.video_id=…`
_PREFIX = "video_id="


@dataclass(frozen=True)
class Purge:
    """What is (or would be) removed of some videos."""

    video_ids: list[str]
    paths: list[str]  # under which they were analysed, as far as known
    n_videos: int  # a file that could be read at one time and not at another has two ids
    n_files: int = 0
    size_bytes: int = 0
    n_rows: dict[str, int] = field(default_factory=dict)  # of each table


def plan_purge(results: Path, *, wanted: Sequence[str] = (), finished_before: datetime | None = None) -> Purge:
    """What a purge of these videos would remove; nothing is changed.

    Args:
        results: the results folder.
        wanted: videos by path, name, id, or as a file with the same content: every analysis and failure of them.
        finished_before: instead, all videos of which nothing is newer than this.

    Raises:
        UnknownVideoError: if the results have no such video, or several that could be meant.
        StoreError: if `results` is no results folder.
    """
    check_results(results)
    rows, folders = _video_rows(results), _folders(results)
    if finished_before is None:
        chosen = _chosen(rows, folders, wanted)
    else:
        finished_at = {of: _last_written(of_video) for of, of_video in folders.items()}
        finished_at |= _last_finished(rows)  # the word of the row counts: copying a folder makes its files new
        chosen = sorted(of for of, when in finished_at.items() if when < finished_before)
    paths = sorted({row["path"] for row in rows if row["video_id"] in chosen})
    files = [file for of in chosen for folder in folders.get(of, []) for file in folder.rglob("*") if file.is_file()]
    n_videos = len(paths) + len(set(chosen) - {row["video_id"] for row in rows})
    return Purge(
        chosen, paths, n_videos, len(files), sum(file.stat().st_size for file in files), _count_rows(results, files)
    )


def purge(results: Path, video_ids: Sequence[str]) -> None:
    """Remove everything that is kept of these videos, and what an earlier purge left unfinished.

    Raises:
        StoreError: if `results` is no results folder, or something cannot be removed.
    """
    check_results(results)
    doomed = results / _DOOMED
    try:
        begun = [folder.name.split(_PREFIX, 1)[1] for folder in doomed.glob(f"*.{_PREFIX}*")]
        analysed_again = [of for of in begun if (results / "videos" / f"{_PREFIX}{of}").exists()]
        doomed.mkdir(exist_ok=True)
        folders = _folders(results)
        for of in [*video_ids, *(set(begun) - {*analysed_again, *video_ids})]:
            for folder in sorted(folders.get(of, []), key=lambda folder: folder.parent.name != "videos"):
                _move(folder, doomed)
        # What is left of videos goes last: as long as it is there, the next purge knows what is unfinished.
        for folder in sorted(doomed.iterdir(), key=lambda folder: folder.name.startswith("videos.")):
            shutil.rmtree(folder)
        # Last: a reader may have written it anew meanwhile, and one that was killed has left a part of it.
        for file in (results / REMEMBERED).parent.glob(f"{REMEMBERED.name}*"):
            file.unlink(missing_ok=True)
        doomed.rmdir()
    except OSError as error:
        raise StoreError(
            f"{error.filename}: cannot be removed ({error.strerror}): end what still uses it, then purge again"
        ) from error


def is_unfinished(results: Path) -> bool:
    """Whether an earlier purge was cut short."""
    return (results / _DOOMED).exists()


def _move(folder: Path, doomed: Path) -> None:
    """Out of sight in one step, in the place of what an earlier purge may have left there."""
    place = doomed / f"{folder.parent.name}.{folder.name}"
    if place.exists():
        shutil.rmtree(place)
    folder.rename(place)


def _folders(results: Path) -> dict[str, list[Path]]:
    """The folders of each video, one in each table that has anything of it."""
    folders: dict[str, list[Path]] = {}
    for folder in sorted(results.glob(f"[!.]*/{_PREFIX}*")):
        folders.setdefault(folder.name.removeprefix(_PREFIX), []).append(folder)
    return folders


def _video_rows(results: Path) -> list[dict[str, Any]]:
    """Id, path and time of every row of table videos, also of old analyses and failures; damaged ones are left out."""
    rows = []
    for file in sorted((results / "videos").glob(f"{_PREFIX}*/[!.]*.parquet")):
        try:
            table = pq.read_table(file, columns=["path", "finished_at"], partitioning=None)
        except (OSError, pa.ArrowException):
            continue
        rows += [{"video_id": file.parent.name.removeprefix(_PREFIX), **row} for row in table.to_pylist()]
    return rows


def _chosen(rows: Sequence[Mapping[str, Any]], folders: Mapping[str, object], wanted: Sequence[str]) -> list[str]:
    """The ids meant; also those that have no row in videos, as a run that was killed leaves them."""
    without_row = folders.keys() - {row["video_id"] for row in rows}
    return choose_videos([*rows, *({"video_id": of, "path": ""} for of in without_row)], wanted)


def _last_finished(rows: Sequence[Mapping[str, Any]]) -> dict[str, datetime]:
    """When each video was last analysed to the end, or failed."""
    last: dict[str, datetime] = {}
    for row in rows:
        last[row["video_id"]] = max(row["finished_at"], last.get(row["video_id"], row["finished_at"]))
    return last


def _last_written(folders: Sequence[Path]) -> datetime:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return datetime.fromtimestamp(max((file.stat().st_mtime for file in files), default=0.0), UTC)


def _count_rows(results: Path, files: Sequence[Path]) -> dict[str, int]:
    """Rows of each table; a damaged file counts as none."""
    counts: Counter[str] = Counter()
    for file in files:
        if file.suffix == ".parquet" and not file.name.startswith("."):
            try:
                of_identities = file.name.startswith("identities-")  # they lie beside the observations
                table = "identities" if of_identities else file.relative_to(results).parts[0]
                counts[table] += pq.read_metadata(file).num_rows
            except (OSError, pa.ArrowException):
                continue
    return dict(counts)
