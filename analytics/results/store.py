"""Write and read a results folder. Readers see a table either complete or not at all.

    fervid.json                                                      marks a results folder and its format version
    observations/video_id=v…/observation_id=o…/segment-000000.parquet
    observations/video_id=v…/observation_id=o…/identities-i….parquet    the track of each face
    observations/video_id=v…/observation_id=o…/without-signatures.json    object stores: segments without appearance
    frames/video_id=v…/a….parquet                                    also faces, tracks, episodes, transitions
    videos/video_id=v…/a….parquet                                    written last: marks the analysis as finished
    .locks/v….lock                                                   held while a video changes, see `video_lock`
    .locks/v….….run                                                  held by an analysis, see `in_progress`

Ids start with a letter, so that no reader parses a folder name as a number. The folder may be in an object store, such
as `s3://bucket/results` (see `storage_paths`), and small files may have been compacted into shards (see `shards`).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from analytics.errors import SegmentError
from analytics.errors import StoreError as StoreError
from analytics.results.arrow_files import n_rows, read_table
from analytics.results.atomic_write import write_atomic
from analytics.results.ids import content_id
from analytics.results.results_folder import FORMAT_VERSION, MARKER_NAME, check_results, is_initialized
from analytics.results.segments import is_segment, lacks_appearance, read_segment, remove_appearance, segments_in
from analytics.results.shards import CompactedAnalysis, check_rows, read_shards, row_crc32
from analytics.results.storage_paths import (
    StorageError,
    StoragePath,
    file_version,
    is_remote,
    list_files,
    read_json,
    remove,
    resolve_path,
)
from analytics.results.table_checks import damaged_in_shard, damaged_tables
from analytics.results.table_files import has_tables, read_whole, table_path, write_table, write_tables
from analytics.results.video_lock import hold_video
from analytics.results.video_record import VideoRecord
from analytics.results.videos import stored_path
from analytics.tables.schema import IDENTITIES, OBSERVATIONS, TABLES, TIMELINE_TABLES, VIDEOS, conform, without
from fer_models.files import valid_text

if TYPE_CHECKING:
    from analytics.timeline.build import Timeline

# In object stores, the file next to the segments that lists those without appearance data.
WITHOUT_APPEARANCE_NAME = "without-signatures.json"
ATTEMPTS = 3


class Store:
    """A writable results folder, created if it is missing or empty. Several processes may write to it.

    Raises:
        StoreError: if the folder contains other files, or results of another format.
        StorageError: if the object store cannot be reached.
    """

    def __init__(self, root: StoragePath) -> None:
        self.root = resolve_path(root)
        if is_remote(self.root) and any(character in str(self.root) for character in "*?["):
            raise StoreError(f"{self.root}: the address of results must not contain *, ? or [: give another one")
        if valid_text(self.root) != str(self.root):  # PyArrow cannot write there
            raise StoreError(f"{valid_text(self.root)}: the path of results must be valid UTF-8: give another one")
        if not is_initialized(self.root):
            content = json.dumps({"format_version": FORMAT_VERSION})
            write_atomic(self.root / MARKER_NAME, lambda part: part.write_text(content + "\n", encoding="utf-8"))
        check_results(self.root)

    def observations_folder(self, video_id: str, observation_id: str) -> StoragePath:
        """The folder of the segments and identities of a video."""
        return self.root / "observations" / f"video_id={video_id}" / f"observation_id={observation_id}"

    def missing_segments(
        self, video_id: str, observation_id: str, n_segments: int, *, with_appearance: bool = False
    ) -> list[int]:
        """The segments of 0 … `n_segments` - 1 that are missing, damaged, or lack required appearance data."""
        existing = list_files(self.observations_folder(video_id, observation_id))
        missing = []
        for index in range(n_segments):
            path = self._segment_path(video_id, observation_id, index)
            segment = read_segment(path) if path.name in existing else None
            if segment is None or (with_appearance and lacks_appearance(segment)):
                missing.append(index)
        return missing

    def write_segment(self, video_id: str, observation_id: str, index: int, observations: pa.Table) -> StoragePath:
        """Write the observations of a segment, which may have no rows; return the path of the file.

        Raises:
            ValueError: if the columns differ from `OBSERVATIONS`.
            StoreError: if the disk is full.
        """
        path = self._segment_path(video_id, observation_id, index)
        write_table(path, conform(observations, OBSERVATIONS), ("frame_index", "face_index"))
        return path

    def n_segments(self, video_id: str, observation_id: str) -> int:
        """The number of segments up to the last existing one, including missing ones before it."""
        names = segments_in(self.observations_folder(video_id, observation_id))
        numbers = (name.removeprefix("segment-").removesuffix(".parquet") for name in names)
        return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)

    def read_observations(self, video_id: str, observation_id: str, n_segments: int) -> pa.Table:
        """Read all segments of a video as one table, in order.

        Raises:
            SegmentError: if a segment is missing or damaged.
        """
        segments = []
        for index in range(n_segments):
            path = self._segment_path(video_id, observation_id, index)
            if (segment := read_segment(path)) is None:
                raise SegmentError(f"{path}: missing or damaged: run `fervid analyze` again to restore it")
            segments.append(segment)
        return pa.concat_tables(segments) if segments else OBSERVATIONS.empty_table()

    def write_identities(
        self,
        video_id: str,
        observation_id: str,
        identities_id: str,
        identities: pa.Table,
        *,
        replace_others: bool = False,
    ) -> None:
        """Write the track of each face (`Timeline.identities`) next to the observations.

        Args:
            video_id: id of the video.
            observation_id: id of the observations.
            identities_id: id of the settings of tracking.
            identities: the track of each face.
            replace_others: whether to delete the identities of all other settings.

        Raises:
            StoreError: if the disk is full.
        """
        path = self._identities_path(video_id, observation_id, identities_id)
        write_table(path, conform(identities, IDENTITIES))
        if replace_others:
            names = list_files(path.parent).keys() - {path.name}
            remove(path.parent / name for name in names if name.startswith("identities-"))

    def read_identities(self, video_id: str, observation_id: str, identities_id: str) -> pa.Table | None:
        """The track of each face, or None if it has not been computed with these settings."""
        return read_whole(self._identities_path(video_id, observation_id, identities_id), IDENTITIES)

    def drop_appearance(self, video_id: str, observation_id: str) -> None:
        """Remove the appearance data of all segments. Write the identities first: they cannot be recomputed afterwards.

        Raises:
            StoreError: if the disk is full.
        """
        folder = self.observations_folder(video_id, observation_id)
        if not is_remote(folder):
            for name in segments_in(folder):
                remove_appearance(folder / name)
            return
        # Reading every segment each time is slow, so the versions of segments without appearance data are recorded.
        known = _read_stamps(folder / WITHOUT_APPEARANCE_NAME)
        for _ in range(ATTEMPTS):  # several attempts, because other processes may write segments at the same time
            stamps = {name: entry.stamp for name, entry in list_files(folder).items() if is_segment(name)}
            dropped = [remove_appearance(folder / name) for name in stamps if known.get(name) != stamps[name]]
            if not any(dropped):
                break
        else:
            return
        if dropped:
            write_atomic(folder / WITHOUT_APPEARANCE_NAME, lambda part: part.write_text(json.dumps(stamps)))

    def is_done(self, video_id: str, analysis_id: str) -> bool:
        """Whether the analysis is finished and its tables are readable."""
        row = self.video_row(video_id, analysis_id)
        if row is None or row.status != "done":
            return False
        if has_tables(self.root, video_id, analysis_id):
            return not any(damaged_tables(self.root, row))
        compacted = self._compacted(video_id, analysis_id)
        return compacted is not None and not any(damaged_in_shard(self.root, video_id, analysis_id))

    def video_row(self, video_id: str, analysis_id: str) -> VideoRecord | None:
        """The row of the analysis in the table `videos`, or None if there is none yet."""
        path = table_path(self.root, "videos", video_id, analysis_id)
        try:
            rows = read_table(path, page_checksum_verification=True).to_pylist()
            row = {name: rows[0].get(name) for name in VIDEOS.names} | {"video_id": video_id}
            check_rows([row])
            return VideoRecord(**row)
        except (OSError, pa.ArrowException, ValueError, IndexError):  # the file is missing or damaged
            compacted = self._compacted(video_id, analysis_id)
            return compacted.video if compacted else None

    def table_rows(self, video_id: str, analysis_id: str) -> dict[str, int]:
        """The number of rows in each table of a finished analysis."""
        compacted = self._compacted(video_id, analysis_id)
        # Like `is_done`: an analysis that was made again since it was compacted has tables of its own.
        if compacted and not has_tables(self.root, video_id, analysis_id):
            return dict(zip(TIMELINE_TABLES, compacted.n_rows, strict=True))
        paths = {name: table_path(self.root, name, video_id, analysis_id) for name in TIMELINE_TABLES}
        return {name: n_rows(path) for name, path in paths.items()}

    def shown_analysis(self, video_id: str) -> VideoRecord | None:
        """The newest finished analysis of a video, which the views show; None if there is none."""
        finished = [row for row in self.rows_of(video_id) if row.status == "done"]
        return max(finished, key=lambda row: (row.finished_at, row.analysis_id), default=None)

    def rows_of(self, video_id: str) -> list[VideoRecord]:
        """All rows of a video in the table `videos`."""
        names = list_files(self.root / "videos" / f"video_id={video_id}")
        ids = {name.removesuffix(".parquet") for name in names if name.startswith("a")}
        ids |= {analysis for video, analysis in read_shards(self.root).where if video == video_id}
        return [row for analysis in sorted(ids) if (row := self.video_row(video_id, analysis))]

    def has_video(self, video_id: str) -> bool:
        """Whether the table `videos` has a readable row of the video."""
        return bool(self.rows_of(video_id))

    def _newest_of(self, video_id: str) -> VideoRecord:
        return max(self.rows_of(video_id), key=lambda row: (row.finished_at, row.analysis_id))

    def mark_as_current(
        self,
        video_id: str,
        analysis_id: str,
        path: str,
        *,
        object_version: str | None = None,
        after: datetime | None = None,
    ) -> str:
        """Make a finished analysis the newest of its video again, and update its file if that was moved or touched.

        Writes nothing if the row is up to date. `finished_at` is increased only where this row must be newer than
        another one. The reason why a later run failed is removed.

        Args:
            video_id: id of the video.
            analysis_id: id of the analysis.
            path: where the file is now.
            object_version: the version of the file at `path`, if it is known.
            after: `finished_at` of the newest row with this path, which may belong to an earlier content of the file.
                If the row gets this path, it becomes newer than that, because readers take the newest row of a path.

        Returns:
            The path in the row.

        Raises:
            StoreError: if there is no such analysis anymore, or the row cannot be written.
        """
        row = self._existing_row(video_id, analysis_id)
        moved = row.path != path and not _has_content(row)
        if moved or (row.path == path and object_version is not None):
            current = replace(row, path=path, object_version=object_version, error=None, is_replaced=None)
        else:
            current = replace(row, error=None)
        self._make_newest(row, current, after if current.path == path else None)
        return current.path

    def show_analysis(self, shown: VideoRecord, analysis_id: str) -> None:
        """Make another finished analysis of a video the newest one, without reading the file.

        Args:
            shown: the row that is shown now, which says what is known of the file and of a later run that failed.
            analysis_id: id of the other analysis.

        Raises:
            StoreError: if there is no such analysis anymore, or the row cannot be written.
        """
        row = self._existing_row(shown.video_id, analysis_id)
        of_file = {name: getattr(shown, name) for name in ("path", "object_version", "error", "is_replaced")}
        self._make_newest(row, replace(row, **of_file))

    def _make_newest(self, row: VideoRecord, current: VideoRecord, after: datetime | None = None) -> None:
        """Write `current` in place of `row`, unless that is the same and the newest of its video."""
        if current != row or self._newest_of(row.video_id).analysis_id != row.analysis_id:
            with hold_video(self.root, row.video_id):
                self._existing_row(row.video_id, row.analysis_id)
                self._write_video_row(replace(current, status="done"), after=after)

    def _existing_row(self, video_id: str, analysis_id: str) -> VideoRecord:
        row = self.video_row(video_id, analysis_id)
        if row is None:
            raise StoreError(
                f"{self.root}: analysis {analysis_id} of video {video_id} was deleted meanwhile: run again"
            )
        return row

    def mark_as_replaced(self, video_id: str, analysis_id: str) -> None:
        """Record that the file of an analysis or failure now has the content of another video."""
        with hold_video(self.root, video_id):
            if row := self.video_row(video_id, analysis_id):  # None if it was purged meanwhile
                # With its own time, so that the other video stays the newest one of the path.
                self._write_video_row(replace(row, is_replaced=True))

    def commit_analysis(
        self, video_row: Mapping[str, object], timeline: "Timeline", *, after: datetime | None = None
    ) -> None:
        """Write the tables of an analysis and then its row in `videos`, with status `done`.

        Args:
            video_row: columns of `VIDEOS`: at least video_id, analysis_id and path; error is the reason why a later run
                failed. Status and finished_at are filled in.
            timeline: the tables.
            after: `finished_at` of the newest row with this path, as for `mark_as_current`.

        Raises:
            ValueError: if `video_row` has an unknown column or lacks a required one.
            StoreError: if the disk is full, or another process keeps changing this video.
        """
        # Build the row first, so that an invalid one fails before anything is written.
        video = VideoRecord.of_row({**video_row, "status": "done", "finished_at": datetime.now(UTC)})
        tables = {}
        for name, schema in TIMELINE_TABLES.items():
            table = _with_analysis_id(timeline.tables()[name], video.analysis_id)
            path = table_path(self.root, name, video.video_id, video.analysis_id)
            tables[path] = conform(table, without(schema, "video_id"))
        with hold_video(self.root, video.video_id):
            written = write_tables(tables)
            crc32, n_bytes = [content.crc32 for content in written], [content.size_bytes for content in written]
            self._write_video_row(replace(video, table_crc32=crc32, table_bytes=n_bytes), after)

    def remove_analysis(self, video_id: str, analysis_id: str) -> None:
        """Remove a superseded analysis, its row in `videos` first."""
        for name in TABLES:
            table_path(self.root, name, video_id, analysis_id).unlink(missing_ok=True)

    def commit_failure(self, video_row: Mapping[str, object], error: str, *, after: datetime | None = None) -> None:
        """Write the row of a video that could not be analyzed, with status `failed` and the reason.

        Args:
            video_row: as for `commit_analysis`, without an error.
            error: the reason.
            after: `finished_at` of the newest row with this path, as for `mark_as_current`.

        Raises:
            ValueError: if `video_row` has an unknown column or lacks a required one.
            StoreError: if the disk is full, or another process keeps changing this video.
        """
        failed = {"status": "failed", "error": error, "finished_at": datetime.now(UTC)}
        video = VideoRecord.of_row({**video_row, **failed})
        with hold_video(self.root, video.video_id):
            self._write_video_row(video, after)

    def _compacted(self, video_id: str, analysis_id: str) -> CompactedAnalysis | None:
        return read_shards(self.root).find(video_id, analysis_id)

    def _write_video_row(self, video: VideoRecord, after: datetime | None = None) -> None:
        """Write the row of an analysis. The caller holds the video, as others do while they delete its files."""
        # Keep finished_at increasing, even if the clock was set back since the previous row.
        earlier = [known.finished_at for known in self.rows_of(video.video_id)] + ([after] if after else [])
        later = [at + timedelta(microseconds=1) for at in earlier]
        video = replace(video, finished_at=max([video.finished_at, *later]))
        row = pa.Table.from_pylist([video.columns()], schema=VIDEOS)
        # The checksum is that of the values as they are stored, such as times in UTC and single precision.
        row = _set_value(row, "row_crc32", row_crc32(row.to_pylist()[0]))
        path = table_path(self.root, "videos", video.video_id, video.analysis_id)
        write_table(path, row.select(without(VIDEOS, "video_id").names))

    def _segment_path(self, video_id: str, observation_id: str, index: int) -> StoragePath:
        return self.observations_folder(video_id, observation_id) / f"segment-{index:06d}.parquet"

    def _identities_path(self, video_id: str, observation_id: str, identities_id: str) -> StoragePath:
        return self.observations_folder(video_id, observation_id) / f"identities-{identities_id}.parquet"


def _has_content(video: VideoRecord) -> bool:
    """Whether the file in a row still has the content that was analyzed; an object of another version never does."""
    try:
        path = stored_path(video.path)
        if file_version(path) == video.object_version:
            return True
        # Size and name are not enough: recordings may be of equal size, and a camera may reuse names.
        return not is_remote(path) and path.stat().st_size == video.size_bytes and content_id(path) == video.video_id
    except (OSError, StorageError):  # there is no such file, or its address cannot be reached from here
        return False


def _with_analysis_id(table: pa.Table, analysis_id: str) -> pa.Table:
    return table.add_column(0, "analysis_id", pa.repeat(pa.scalar(analysis_id), len(table)))


def _set_value(row: pa.Table, name: str, value: object) -> pa.Table:
    """Set the value of a column in a table of one row."""
    field = row.schema.field(name)
    return row.set_column(row.schema.get_field_index(name), field, pa.array([value], field.type))


def _read_stamps(path: StoragePath) -> dict[str, str]:
    """The recorded versions of segments without appearance data; empty if the file is missing or unreadable."""
    try:
        stamps: dict[str, str] = read_json(path)
    except (OSError, ValueError):
        return {}
    return stamps
