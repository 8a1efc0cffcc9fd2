"""Read video and image files as RGB frames with their player times; all use of decoders is in this package."""

from fer_models.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from fer_models.video.container import VideoReadError, check_readable
from fer_models.video.decode import read_frames, read_frames_at
from fer_models.video.probe import VideoInfo, probe, stated_duration_s
from fer_models.video.sampling import frames_to_sample, split_segments

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "VideoInfo",
    "VideoReadError",
    "check_readable",
    "frames_to_sample",
    "probe",
    "read_frames",
    "read_frames_at",
    "split_segments",
    "stated_duration_s",
]
