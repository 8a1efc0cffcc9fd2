"""Settings of earlier analyses, read from the table `videos`, to repeat failed ones in the same way."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from analytics.results.catalog import read_catalog
from analytics.results.results_folder import check_results
from analytics.results.storage_paths import StoragePath
from analytics.results.video_record import VideoRecord, video_records
from analytics.results.videos import stored_path
from fer_models.registry.model_registry import WeightsError, find_model
from flows.analysis.fingerprints import OBSERVATION_SETTINGS
from flows.settings import AnalyzeSettings, TimelineSettings

_OBSERVED = OBSERVATION_SETTINGS | {"detector_size_px"}


class FailedVideos(NamedTuple):
    """Failed videos, by the settings to analyze them again with."""

    by_settings: dict[AnalyzeSettings, list[StoragePath]]
    refused: dict[StoragePath, ValidationError]  # videos whose settings an earlier version accepted, but not this one


def settings_of(results: StoragePath, video_ids: Sequence[str]) -> FailedVideos:
    """Find the settings of the last failed run of videos, which may differ from those of the analysis shown.

    Device and decoder are chosen again: the machine may differ, and the file may have been repaired. Videos that failed
    before any settings were stored use the defaults.

    Raises:
        StoreError: if `results` is not a results folder of this version.
        StorageError: if the package that reads the address of a video is not installed.
    """
    check_results(results)
    rows = video_records(read_catalog(results, skip_damaged=True).rows)
    failed: dict[str, VideoRecord] = {}
    for row in sorted(rows, key=lambda row: (row.status == "failed", row.finished_at, row.analysis_id)):
        if row.video_id in video_ids:
            failed[row.video_id] = row
    found = FailedVideos(defaultdict(list), {})
    for row in sorted(failed.values(), key=lambda row: (row.path, row.video_id)):
        path = stored_path(row.path)
        try:
            found.by_settings[stored_settings(row.settings)].append(path)
        except ValidationError as error:
            found.refused[path] = error
    return found


def missing_model(settings: AnalyzeSettings) -> tuple[str, str] | None:
    """The option and the name of a model of these settings that does not exist; None if there is none."""
    named = {"--model": (settings.model, "emotion"), "--detector": (settings.detector, "detector")}
    for option, (name, task) in named.items():
        try:
            if name != "auto":
                find_model(name, task)
        except WeightsError:
            return option, name
    return None


def stored_settings(text: str | None) -> AnalyzeSettings:
    """Settings from a value of the column `settings`.

    Raises:
        ValidationError: if an earlier version accepted them, but not this one.
    """
    if text is None:
        return AnalyzeSettings()
    stored = json.loads(text)
    run = stored.get("run", {})
    requested = {name: stored["observe"][name] for name in ("model", "detector")}
    requested |= {name: run[name] for name in ("model", "detector", "keep_appearance", "overwrite") if name in run}
    if "keep_signatures" in run:  # name of this setting in results of version 0.1
        requested["keep_appearance"] = run["keep_signatures"]
    return AnalyzeSettings(
        **{name: stored["observe"][name] for name in _OBSERVED if name in stored["observe"]},
        **requested,
        timeline=timeline_settings(stored["timeline"]),
    )


def timeline_settings(stored: Mapping[str, Any]) -> TimelineSettings:
    """The settings of pass 2 that a user can choose, from the configuration of each stage."""
    return TimelineSettings(
        gate=stored["quality"]["gate"],
        speech=stored["quality"].get("speech", "include"),  # results of version 0.1 have none
        time_constant_s=stored["smoothing"]["time_constant_s"],
        max_gap_s=stored["tracker"]["max_gap_s"],
        baseline=stored["baseline"]["method"],
        baseline_span_s=stored["baseline"]["span_s"],
    )
