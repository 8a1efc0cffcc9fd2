"""Settings of a run: the options of each stage in one place, from the command line, Python or `FERVID_…` variables."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from analytics.timeline.baseline import BaselineConfig, BaselineMethod
from analytics.timeline.build import TimelineConfig
from analytics.timeline.quality import QualityConfig
from analytics.timeline.smoothing import SmoothingConfig
from analytics.tracking.tracker import TrackerConfig
from fer_models.prefetch import STALLED_S

Seconds = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TimelineSettings(BaseSettings):
    """What pass 2 makes of what was seen. Each value can also come from the environment: `FERVID_TIME_CONSTANT_S=1`."""

    model_config = SettingsConfigDict(env_prefix="FERVID_", extra="forbid", frozen=True)

    gate: bool = Field(QualityConfig.gate, description="leave faces of bad quality out of smoothing and summaries")
    time_constant_s: Positive = Field(
        SmoothingConfig.time_constant_s, description="the weight of a neighbor falls to 37 % at this distance in time"
    )
    max_gap_s: float = Field(
        TrackerConfig.max_gap_s,
        ge=0,
        allow_inf_nan=False,
        description="follow a face out of sight this long",
    )
    baseline: BaselineMethod = Field("none", description="what to take off as the person's face at rest")
    baseline_span_s: tuple[Seconds, Seconds] | None = Field(
        None,
        description="for neutral_stretch: from when to when everybody looks neutral; found in each track if not given",
    )

    @model_validator(mode="after")
    def _check_baseline(self) -> Self:
        self.config(score_threshold=0.5)
        return self

    def config(self, score_threshold: float) -> TimelineConfig:
        """The settings of each stage; from which score on a face is one is for the detector to say."""
        return TimelineConfig(
            tracker=TrackerConfig(high_score=score_threshold, max_gap_s=self.max_gap_s),
            quality=QualityConfig(min_det_score=score_threshold, gate=self.gate),
            baseline=BaselineConfig(method=self.baseline, span_s=self.baseline_span_s),
            smoothing=SmoothingConfig(time_constant_s=self.time_constant_s),
        )


class AnalyzeSettings(BaseSettings):
    """How videos are analyzed. Each value can also come from the environment, such as `FERVID_DEVICE=cpu`."""

    model_config = SettingsConfigDict(env_prefix="FERVID_", extra="forbid", frozen=True)

    fps: Positive | None = Field(None, description="frames to look at per second of video; all by default")
    start_s: Seconds | None = Field(None, description="first second to look at, in the video's own time")
    end_s: Seconds | None = Field(None, description="second to stop before")
    detector: Literal["auto", "compact", "retinaface"] = "auto"
    detector_size_px: int | None = Field(
        None, ge=32, description="larger frames are shrunk to this long side before faces are looked for"
    )
    model: str = Field("default", description="emotion model: a name from `fervid models`, or a model folder")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    decoder: Literal["auto", "decord", "pyav"] = "auto"
    batch_size: int = Field(32, ge=1, description="at most this many frames at a time")
    min_face_px: float = Field(12.0, ge=0, allow_inf_nan=False, description="smaller faces are left out")
    segment_s: float = Field(
        30.0, ge=0.001, allow_inf_nan=False, description="seconds of video that are saved at a time"
    )
    decode_timeout_s: Positive = Field(
        STALLED_S, description="a video whose reading gives no sign of life for so long is given up"
    )
    overwrite: bool = Field(False, description="analyze again what is done")
    keep_appearance: bool = Field(False, description="keep the signatures of faces once the tracks are joined")
    timeline: TimelineSettings = Field(default_factory=TimelineSettings, description="settings of pass 2")

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end ({self.end_s:g} s) must come after start ({self.start_s:g} s)")
        return self


class LiveSettings(BaseSettings):
    """How a live session is kept. Each value can also come from the environment, such as `FERVID_EVERY_S=2`."""

    model_config = SettingsConfigDict(env_prefix="FERVID_", frozen=True)

    every_s: float = Field(5.0, ge=0.5, allow_inf_nan=False, description="bring the tables up to date this often")
    session_s: float = Field(3600.0, ge=10, allow_inf_nan=False, description="begin a new session after this long")
    for_s: Positive | None = Field(None, description="end after this long")


class EngineSettings(BaseSettings):
    """What a run is given to run on; it changes no number in the results."""

    model_config = SettingsConfigDict(env_prefix="FERVID_", frozen=True)

    # Two keep both cores busy where one waits now and then: 201 against 160 frames/s over eight clips on two cores.
    workers: int = Field(2, ge=1, description="videos analyzed at the same time, on this machine")
    engine: Literal["threads", "ray", "dask"] = Field("threads", description="what runs the tasks")
    address: str | None = Field(None, min_length=1, description="of a cluster that is there; else one is made here")
    gpus_per_task: float = Field(0.0, ge=0, allow_inf_nan=False, description="what each task asks Ray for")
    part_s: Positive = Field(1800.0, description="seconds of a long video that are one task of a cluster")

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.address is not None and self.engine == "threads":
            raise ValueError("an address is that of a cluster: choose --engine ray or dask")
        if self.gpus_per_task and self.engine != "ray":
            raise ValueError("only Ray shares out GPUs: choose --engine ray")
        return self
