"""Settings of a run. Each option is declared here once: its name, type, default, range and help text.

The command line is generated from these classes (`flows.cli.options`). A value can also come from a TOML file
(`--config`) or from an environment variable: `FERVID_` and the name of the field in capitals, such as
`FERVID_BATCH_SIZE=16`. The command line has priority over the environment, and the environment over the file.
"""

import re
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from analytics.timeline.build import TimelineConfig

_CLOCK = re.compile(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d*)?)")


def parse_time(value: object) -> object:
    """Seconds from `1:30` or `0:01:30.5`; a value without a colon is returned for pydantic to parse.

    >>> parse_time("1:02:03.5"), parse_time("2:05"), parse_time("90")
    (3723.5, 125.0, '90')

    Raises:
        ValueError: if a text with a colon is not a time.
    """
    if isinstance(value, str) and (clock := _CLOCK.fullmatch(value.strip())):
        hours, minutes, seconds = clock.groups(default="0")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if isinstance(value, str) and ":" in value:
        raise ValueError(f"must be [[HH:]MM:]SS with minutes and seconds below 60, got {value!r}")
    return value


def parse_whole_number(value: object) -> object:
    """The number in a text such as `90`, as in environment variables; anything else is returned unchanged."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


# Seconds since the start of a video. On the command line they can be written as hours, minutes and seconds.
Time = Annotated[float, BeforeValidator(parse_time), Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class FervidSettings(BaseSettings):
    """Immutable settings; unknown names are refused."""

    model_config = SettingsConfigDict(env_prefix="FERVID_", extra="forbid", frozen=True)


class TimelineSettings(FervidSettings):
    """Settings of pass 2, which builds timelines from observations."""

    # The defaults are those of `analytics`, which a test compares; importing them from there would take a second.
    gate: bool = Field(True, description="Exclude low-quality faces from smoothing and summaries.")
    speech: Literal["include", "exclude", "only"] = Field(
        "include",
        description="Include faces in intervals of speaking-like mouth movement, exclude them, or count only them.",
    )
    time_constant_s: Positive = Field(
        0.3,
        description="Time constant of the smoothing: the weight of a neighboring frame falls to 37 % at this distance. "
        "Higher values give calmer timelines with later peaks.",
    )
    max_gap_s: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="Continue a track across gaps up to this long, at least across 1.5 sampling steps; "
        "re-identification by appearance and position joins longer ones. A value that differs from the analysis needs "
        "`fervid analyze --keep-appearance`.",
    )
    baseline: Literal["none", "own_mean", "neutral_stretch"] = Field(
        "none", description="Subtract each person's resting face: their mean, or their most neutral stretch."
    )
    baseline_span_s: tuple[Time, Time] | None = Field(
        None,
        description="For neutral_stretch: start and end of a period in which everybody looks neutral (default: found "
        "for each track).",
    )

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if self.baseline_span_s is not None or self.speech != "include":
            self.config(score_threshold=0.5)
        return self

    def config(self, score_threshold: float) -> "TimelineConfig":
        """The configuration of each stage; the score from which a detection counts depends on the detector."""
        from analytics.timeline.baseline import BaselineConfig
        from analytics.timeline.build import TimelineConfig
        from analytics.timeline.quality import QualityConfig
        from analytics.timeline.smoothing import SmoothingConfig
        from analytics.tracking.tracker import TrackerConfig

        return TimelineConfig(
            tracker=TrackerConfig(
                high_score=score_threshold,
                low_score=min(TrackerConfig.low_score, score_threshold),
                max_gap_s=self.max_gap_s,
            ),
            quality=QualityConfig(min_det_score=score_threshold, gate=self.gate, speech=self.speech),
            baseline=BaselineConfig(method=self.baseline, span_s=self.baseline_span_s),
            smoothing=SmoothingConfig(time_constant_s=self.time_constant_s),
        )


class AnalyzeSettings(FervidSettings):
    """Settings of the analysis of videos."""

    fps: Positive | None = Field(None, description="Analyze this many frames per second of video (default: all).")
    start_s: Time | None = Field(None, ge=0, description="Start at this time of each video; images ignore it.")
    end_s: Time | None = Field(None, gt=0, description="Stop before this time of each video; images ignore it.")
    detector: str = Field(
        "auto",
        description="Face detector: a name from `fervid models`, a model folder, or auto, which is retinaface if it is "
        "installed and a GPU is used, else compact.",
    )
    detector_size_px: int | None = Field(
        None,
        ge=32,
        description="Downscale larger frames to this long side before detection (default: the detector's own).",
    )
    detect_every_s: float = Field(
        0.2,
        ge=0,
        allow_inf_nan=False,
        description="Search the full frame for faces this often, and only around known faces in between; 0 searches "
        "every full frame.",
    )
    model: str = Field("default", description="Emotion model: a name from `fervid models`, or a model folder.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device to compute on.")
    decoder: Literal["auto", "decord", "pyav"] = Field("auto", description="Library that decodes the videos.")
    video_stream: int | None = Field(
        None, ge=0, description="Read this video stream of each file, counted from 0 (default: its default stream)."
    )
    rotate: Annotated[Literal[0, 90, 180, 270], BeforeValidator(parse_whole_number)] = Field(
        0, description="Rotate frames clockwise by this many degrees, for cameras that are not mounted upright."
    )
    batch_size: int = Field(32, ge=1, description="Process at most this many frames at a time.")
    min_face_px: float = Field(12.0, ge=0, allow_inf_nan=False, description="Ignore faces smaller than this.")
    segment_s: float = Field(
        30.0, ge=0.001, allow_inf_nan=False, description="Save observations after each segment of this length."
    )
    decode_timeout_s: Positive = Field(
        120.0, description="Skip a video, and report it as failed, if no data could be read for this long."
    )
    overwrite: bool = Field(False, description="Analyze finished videos again.")
    verify_content: bool = Field(
        False, description="Hash every file, also those whose size, times and inode have not changed."
    )
    keep_appearance: bool = Field(
        False,
        description="Keep appearance descriptors, which changes of tracking settings need. A later run without this "
        "option deletes them.",
    )
    keep_landmarks: bool = Field(
        False,
        description="Keep the 68 landmarks and irises of each face: about 560 bytes per face in the observations, and "
        "as many again in the table faces.",
    )
    timeline: TimelineSettings = Field(default_factory=TimelineSettings, description="Settings of pass 2.")

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end ({self.end_s:g} s) must come after start ({self.start_s:g} s)")
        return self


class LiveSettings(FervidSettings):
    """Settings of live sessions."""

    every_s: float = Field(
        5.0, ge=0.5, allow_inf_nan=False, description="Update the tables this often; less often in long sessions."
    )
    session_s: float = Field(
        3600.0, ge=10, allow_inf_nan=False, description="End a session after this long and start the next one."
    )
    for_s: Positive | None = Field(None, description="Stop after this long (default: when interrupted).")
    adapt_fps: bool = Field(
        False, description="Analyze only as many frames per second as this machine can, instead of dropping frames."
    )


class EngineSettings(FervidSettings):
    """Settings of the task runner; they change no number in the results."""

    # Two videos keep both cores busy while one waits for data: 201 against 160 frames/s over eight clips on two cores.
    workers: int = Field(2, ge=1, description="Videos analyzed at the same time on this machine.")
    engine: Literal["threads", "ray", "dask"] = Field(
        "threads", description="Task runner: threads on this machine, or a cluster."
    )
    address: str | None = Field(
        None, min_length=1, description="Address of a running cluster (default: start one on this machine)."
    )
    gpus_per_task: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="GPUs that each task requests from Ray, such as 0.25."
    )
    part_s: Positive = Field(1800.0, description="On a cluster, split longer videos into tasks of this many seconds.")

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.address is not None and self.engine == "threads":
            raise ValueError("--address needs --engine ray or dask")
        if self.gpus_per_task and self.engine != "ray":
            raise ValueError("--gpus-per-task needs --engine ray")
        return self
