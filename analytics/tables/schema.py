"""The columns of every table, with unit and meaning; `analytics.tables.schema_page` writes docs/schema.md from them."""

import numpy as np
import pyarrow as pa

from analytics.tables.affect import AROUSAL_WEIGHTS, VALENCE_WEIGHTS
from analytics.tables.quantization import STEPS_IN_WORDS
from fer_models.labels import EMOTIONS
from fer_models.landmarks.points import N_POINTS

SEEN_STATUSES = ("ok", "no_face")
# Two of these statuses occur in live sessions only: "dropped" frames, because processing fell behind, and "no_signal",
# a period without frames.
FRAME_STATUSES = (*SEEN_STATUSES, "decode_error", "dropped", "no_signal")
VIDEO_STATUSES = ("done", "failed")
N_TIMELINE_TABLES = 5  # number of tables in TIMELINE_TABLES
QUALITY_REASONS = (
    "low_detection_score",
    "too_small",
    "cut_off",
    "turned_away",
    "looking_up",
    "looking_down",
    "dark",
    "blurred",
    "low_landmark_score",
)
# Reasons for which --speech leaves out a good face: the first with `exclude`, the others with `only`.
SPEECH_REASONS = ("speaking", "not_speaking", "speech_not_measured")
MOVEMENT_KINDS = ("blink", "speaking", "nod", "head_shake")


def _field(name: str, kind: pa.DataType, unit: str, description: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description, "unit": unit})


def explained(description: str, *columns: tuple[str, pa.DataType, str, str]) -> pa.Schema:
    """A schema with a description of its rows and the name, type, unit and description of each column."""
    return pa.schema([_field(*column) for column in columns], metadata={"description": description})


def _per_emotion(prefix: str, unit: str, description: str) -> list[pa.Field]:
    """A float32 column for each of the seven emotions; `{}` in the description becomes its name."""
    return [_field(f"{prefix}_{name}", pa.float32(), unit, description.format(name)) for name in EMOTIONS]


def _weighted_sum(weights: np.ndarray) -> str:
    return " ".join(f"{weight:+g} p_{name}" for weight, name in zip(weights, EMOTIONS, strict=True) if weight)


_IDS = [
    _field(
        "video_id",
        pa.string(),
        "",
        "hash of the file's content (live: of source and start time); in the folder name `video_id=…`",
        nullable=False,
    ),
    _field("analysis_id", pa.string(), "", "hash of the video, the model weights and all settings", nullable=False),
]
_FRAME = [
    _field("frame_index", pa.int64(), "", "index of the frame in the video, from 0", nullable=False),
    _field(
        "pts_s",
        pa.float64(),
        "s",
        "time of the frame in the video: presentation time minus start_time_s",
        nullable=False,
    ),
]
_FRAME_STATUS = _field("status", pa.string(), "", f"one of {', '.join(FRAME_STATUSES)}", nullable=False)
_DETECTION = _field(
    "detection",
    pa.string(),
    "",
    "searched area: full (the whole frame) or close_up (around the faces of the key frames before and after it, see "
    "--detect-every); NULL if the frame was not analyzed",
)
_TRACK_ID = _field("track_id", pa.int32(), "", "track in this video, from 0 in order of appearance", nullable=False)
_FACE_INDEX = "index of the face in the frame, from 0"
_BOX_AND_LANDMARKS = [
    *[
        _field(name, pa.float32(), "px", f"{side} edge of the face box, in pixels of the displayed frame")
        for name, side in (("x1_px", "left"), ("y1_px", "top"), ("x2_px", "right"), ("y2_px", "bottom"))
    ],
    _field("det_score", pa.float32(), "0 to 1", "detection score"),
    _field(
        "landmarks_px",
        pa.list_(pa.float32(), 10),
        "px",
        "x, y of right eye, left eye, nose, right and left mouth corner (from the person's perspective), from the "
        "detector, or from the landmark network where it turned the crop upright and landmark_score is at least 0.5",
    ),
]
_TRACK_OF_FACE = "track of the face; NULL if it belongs to none: a track has at least 3 faces over at least 0.15 s"
_PROBABILITIES = _per_emotion("p", "0 to 1", "calibrated probability of {}; the seven, with p_other if any, sum to 1")
_FURTHER_OUTPUTS = [
    _field("p_other", pa.float32(), "0 to 1", "probability of the model's other classes; NULL if it has none"),
    _field(
        "valence", pa.float32(), "-1 to 1", "valence output by the model, not derived from p_…; NULL if it has none"
    ),
    _field(
        "arousal", pa.float32(), "-1 to 1", "arousal output by the model, not derived from p_…; NULL if it has none"
    ),
]
_FACE_MEASURES = [
    _field("face_px", pa.float32(), "px", "size of the face: square root of the area of its box"),
    _field("interocular_px", pa.float32(), "px", "distance between the two eye landmarks"),
    _field("blur", pa.float32(), "gray levels²", "variance of the Laplacian of the gray 48x48 px crop; low: blurred"),
    _field("brightness", pa.float32(), "0 to 255", "mean gray level of the crop"),
    _field("cut_off", pa.float32(), "0 to 1", "share of the crop outside the frame"),
    _field(
        "yaw_deg",
        pa.float32(),
        "°",
        "rough head yaw from five landmarks; positive: nose right of center. Prefer head_yaw_deg",
    ),
    _field(
        "roll_deg",
        pa.float32(),
        "°",
        "slope of the line between the eyes in landmarks_px; with the packaged detector near 0 for heads tilted by up "
        "to 10°; positive: clockwise in the frame. Prefer head_roll_deg",
    ),
]
_EYE_ASPECT_RATIO = (
    "openness of the person's {} eye: eye aspect ratio, the mean distance of the lids over the distance of the corners "
    "(Soukupová and Čech 2016)"
)
_IN_IOD = "of the interocular distance"
_LANDMARK_MEASURES = [
    _field(
        "landmark_score",
        pa.float32(),
        "0 to 1",
        "how far the 68 landmarks can be trusted, on which the columns up to head_roll_deg are measured; NULL in "
        "results of version 0.1",
    ),
    _field("eye_openness_left", pa.float32(), "ratio", _EYE_ASPECT_RATIO.format("left")),
    _field("eye_openness_right", pa.float32(), "ratio", _EYE_ASPECT_RATIO.format("right")),
    _field("mouth_opening", pa.float32(), _IN_IOD, "mean distance of the inner lips"),
    _field("mouth_width", pa.float32(), _IN_IOD, "distance of the corners of the mouth"),
    _field(
        "mouth_corner_height", pa.float32(), _IN_IOD, "height of the corners of the mouth over the middle of the lips"
    ),
    _field("brow_height", pa.float32(), _IN_IOD, "mean height of the brows over the eyes"),
    _field(
        "head_yaw_deg",
        pa.float32(),
        "°",
        "head yaw, measured in the crop turned upright; positive: nose toward its right edge",
    ),
    _field("head_pitch_deg", pa.float32(), "°", "head pitch, measured in the crop turned upright; positive: nose up"),
    _field("head_roll_deg", pa.float32(), "°", "head roll; positive: clockwise in the frame"),
]
_POINTS = _field(
    "points_px",
    pa.list_(pa.float32(), 2 * N_POINTS),
    "px",
    "x, y of 68 landmarks in the order of iBUG 300-W, then of the centers of the right and the left iris; only with "
    "--keep-landmarks",
)

OBSERVATIONS = pa.schema(
    [
        *_FRAME,
        _FRAME_STATUS,
        _DETECTION,
        _field(
            "look",
            pa.list_(pa.uint8(), 48),
            "0 to 255",
            "thumbnail for shot detection: mean RGB of a 4x4 grid over the frame; NULL if it was not analyzed",
        ),
        _field(
            "lost_from_s",
            pa.float64(),
            "s",
            "time at which the next interval begins whose frames are lost with their data; NULL if there is none",
        ),
        _field("face_index", pa.int16(), "", f"{_FACE_INDEX}; this and all later columns are NULL without a face"),
        *_BOX_AND_LANDMARKS,
        *_PROBABILITIES,
        *_FURTHER_OUTPUTS,
        *_FACE_MEASURES,
        *_LANDMARK_MEASURES,
        _POINTS,
        _field(
            "signature",
            pa.list_(pa.uint8(), 60),
            "0 to 255",
            "appearance for re-identification: mean RGB of 4x4 cells of the crop and of 2x2 cells below it; dropped "
            "(NULL) after tracking unless --keep-appearance is given",
        ),
    ],
    metadata={
        "description": "Observations of pass 1: a row per face per sampled frame; a frame without faces has one row."
    },
)

VIDEOS = pa.schema(
    [
        *_IDS,
        _field("observation_id", pa.string(), "", "hash of the video, the weights and the settings of pass 1"),
        _field("path", pa.string(), "", "path of the video when it was analyzed", nullable=False),
        _field("sha256", pa.string(), "", "SHA-256 of the file; NULL if it could not be read"),
        _field("size_bytes", pa.int64(), "bytes", "size of the file"),
        _field(
            "object_version", pa.string(), "", "version of the file: from the object store, else size, times and inode"
        ),
        _field("container", pa.string(), "", "container format"),
        _field("codec", pa.string(), "", "video codec"),
        _field("video_stream", pa.int32(), "", "index of the video stream read, from 0; NULL for an image"),
        _field("width_px", pa.int32(), "px", "width of the displayed frame: rotated, mirrored, with square pixels"),
        _field("height_px", pa.int32(), "px", "height of the displayed frame"),
        _field("rotation_deg", pa.int32(), "°", "clockwise rotation from the stored to the displayed frame"),
        _field("is_mirrored", pa.bool_(), "", "whether the stored frame is mirrored horizontally before rotation"),
        _field("start_time_s", pa.float64(), "s", "container time at which playback starts, where pts_s is 0"),
        _field("duration_s", pa.float64(), "s", "duration as a player shows it, including audio"),
        _field(
            "shown_until_s",
            pa.float64(),
            "s",
            "end of the last analyzed frame, if no data are lost after it; NULL if unknown",
        ),
        _field(
            "n_clock_jumps",
            pa.int64(),
            "",
            "number of restarts and jumps of the timestamps; pts_s continues without them",
        ),
        _field("n_frames", pa.int64(), "", "frames in the video; table frames contains the sampled ones"),
        _field("avg_fps", pa.float64(), "1/s", "mean frame rate of the video"),
        _field("is_vfr", pa.bool_(), "", "whether the frame rate varies"),
        _field("decoder", pa.string(), "", "library that decoded the video"),
        _field("decoder_reason", pa.string(), "", "why this decoder was chosen"),
        _field("notes", pa.string(), "", "choices, repairs and omissions when reading the file, in sentences"),
        _field("status", pa.string(), "", f"one of {', '.join(VIDEO_STATUSES)}", nullable=False),
        _field("error", pa.string(), "", "why the analysis failed; with status done, why a later run failed"),
        _field("started_at", pa.timestamp("us", "UTC"), "", "when the analysis started"),
        _field("finished_at", pa.timestamp("us", "UTC"), "", "when the analysis finished or failed", nullable=False),
        _field("frames_per_s", pa.float64(), "1/s", "sampled frames analyzed per second"),
        _field("n_observed", pa.int64(), "", "sampled frames analyzed by the last run; the others were stored before"),
        *[
            _field(f"{stage}_s", pa.float64(), "s", f"time that the last run spent {doing}")
            for stage, doing in (
                ("decode_wait", "waiting for decoded frames; decoding runs in parallel"),
                ("detect", "detecting faces"),
                ("crop", "cropping and measuring faces"),
                ("classify", "classifying emotions"),
                ("landmarks", "locating landmarks and turning crops upright"),
            )
        ],
        _field("live_since", pa.timestamp("us", "UTC"), "", "live session: time of pts_s = 0; NULL for a file"),
        _field("is_running", pa.bool_(), "", "live session: whether it was running when this was written"),
        _field("is_replaced", pa.bool_(), "", "true if a run found the content of another video at path, else NULL"),
        _field("settings", pa.string(), "JSON", "every setting that can change a value; key run: options of the run"),
        _field(
            "joined_by_look",
            pa.bool_(),
            "",
            "whether tracklets were associated by appearance; false without appearance data",
        ),
        _field("weights", pa.string(), "JSON", "SHA-256 of the weights of each model"),
        _field("versions", pa.string(), "JSON", "versions of the libraries used"),
        _field(
            "table_crc32",
            pa.list_(pa.uint32(), N_TIMELINE_TABLES),
            "",
            "CRC-32 of the files of frames, faces, tracks, episodes and transitions",
        ),
        _field("table_bytes", pa.list_(pa.int64(), N_TIMELINE_TABLES), "bytes", "sizes of these files"),
        _field("row_crc32", pa.uint32(), "", "CRC-32 of the other values of the row"),
    ],
    metadata={"description": "A row per analysis of a video: the file, the settings, and the outcome."},
)

FRAMES = pa.schema(
    [
        *_IDS,
        *_FRAME,
        _field(
            "duration_s",
            pa.float64(),
            "s",
            "time to the next sampled frame, or lost data before it; for the last, to shown_until_s, else the median",
        ),
        _FRAME_STATUS,
        _DETECTION,
        _field("n_faces", pa.int32(), "", "faces detected in the frame; NULL if it was not analyzed"),
        _field("is_cut", pa.bool_(), "", "whether a shot boundary (hard cut) precedes the frame", nullable=False),
    ],
    metadata={"description": "A row per sampled frame."},
)

FACES = pa.schema(
    [
        *_IDS,
        *_FRAME,
        _field("duration_s", pa.float64(), "s", "duration_s of the frame: the weight of the face in shares of time"),
        _field("face_index", pa.int16(), "", _FACE_INDEX, nullable=False),
        _field("track_id", pa.int32(), "", _TRACK_OF_FACE),
        *_BOX_AND_LANDMARKS,
        *_PROBABILITIES,
        *_FURTHER_OUTPUTS,
        _field(
            "emotion",
            pa.string(),
            "",
            "emotion with the highest probability in this frame, before smoothing: see smooth_emotion",
        ),
        _field("p_max", pa.float32(), "0 to 1", "probability of emotion"),
        _field(
            "entropy",
            pa.float32(),
            "bit",
            "entropy of p_… and p_other, if any: 0 (certain) to 2.81 (uniform), or to 3 with p_other",
        ),
        *_per_emotion(
            "smooth",
            "0 to 1",
            "p_{} (corrected with --baseline) smoothed within the track: mean over good faces, each weighted by "
            "its duration (others by 0.3 s at most) and exp(-distance in time / time_constant_s); the seven sum to 1, "
            "or to less with p_other, as p_… do",
        ),
        _field("smooth_emotion", pa.string(), "", "emotion after smoothing; changes only when another clearly leads"),
        _field(
            "label_carried",
            pa.bool_(),
            "",
            "whether this face is of low quality and smooth_emotion comes only from good faces of the track up to "
            "max_reach_s (0.3 s) before or after; NULL without smooth_emotion",
        ),
        _field(
            "valence_proxy",
            pa.float32(),
            "-1 to 1",
            f"valence estimated from p_…, without a baseline: {_weighted_sum(VALENCE_WEIGHTS)}",
        ),
        _field(
            "arousal_proxy",
            pa.float32(),
            "-1 to 1",
            f"arousal estimated from p_…, without a baseline: {_weighted_sum(AROUSAL_WEIGHTS)}",
        ),
        *_FACE_MEASURES,
        *_LANDMARK_MEASURES,
        _POINTS,
        _field(
            "smile",
            pa.float32(),
            _IN_IOD,
            "mouth_corner_height minus the person's own rest: its median over the good faces of the track; NULL where "
            "the landmarks are not trusted",
        ),
        _field("brow_raise", pa.float32(), _IN_IOD, "brow_height minus the person's own rest, likewise"),
        _field(
            "is_speaking",
            pa.bool_(),
            "",
            "whether the frame is in an interval of speaking-like mouth movement (see movements); NULL if not measured",
        ),
        _field(
            "quality_ok",
            pa.bool_(),
            "",
            "whether the face is of good quality and not left out by --speech, so that it counts in smoothing and "
            "summaries (all do with --no-gate)",
        ),
        _field(
            "quality_reason",
            pa.string(),
            "",
            f"reason for low quality: one of {', '.join(QUALITY_REASONS)}; or why --speech leaves out a good face: "
            f"one of {', '.join(SPEECH_REASONS)}",
        ),
    ],
    metadata={"description": f"The emotion timeline: a row per face per sampled frame. {STEPS_IN_WORDS}"},
)

TRACKS = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field("start_s", pa.float64(), "s", "time of the first frame", nullable=False),
        _field("end_s", pa.float64(), "s", "end of the last frame", nullable=False),
        _field("n_faces", pa.int64(), "", "faces in the track", nullable=False),
        _field(
            "n_faces_ok",
            pa.int64(),
            "",
            "faces of good quality that --speech does not leave out; the others are n_faces_left_out or of low quality",
            nullable=False,
        ),
        _field("n_faces_left_out", pa.int64(), "", "faces of good quality that --speech leaves out"),
        _field(
            "seen_s",
            pa.float64(),
            "s",
            "time for which the face was visible: sum of the frames' durations",
            nullable=False,
        ),
        _field("ok_s", pa.float64(), "s", "of seen_s, the time with a face of n_faces_ok", nullable=False),
        _field("left_out_s", pa.float64(), "s", "of seen_s, the time with a face of n_faces_left_out"),
        _field("mean_det_score", pa.float32(), "0 to 1", "mean detection score over the faces"),
        _field("mean_face_px", pa.float32(), "px", "mean face size over the faces"),
        *_per_emotion(
            "mean",
            "0 to 1",
            "mean of p_{} over ok_s (with --no-gate over seen_s), without smoothing or baseline; the seven sum to 1, "
            "or to less with p_other, as p_… do",
        ),
        _field(
            "emotion",
            pa.string(),
            "",
            "dominant emotion: the one with the largest share of time; of equal ones, the first of the columns share_…",
        ),
        _field("labelled_s", pa.float64(), "s", "time with a known smooth_emotion: the denominator of share_…"),
        _field("carried_s", pa.float64(), "s", "of labelled_s, the time with a carried label: see faces.label_carried"),
        *_per_emotion("share", "0 to 1", "share of labelled_s with smooth_emotion {}; the seven sum to 1"),
        _field(
            "baseline_start_s",
            pa.float64(),
            "s",
            "start of the baseline interval (face at rest); NULL if there is none",
        ),
        _field("baseline_end_s", pa.float64(), "s", "end of the baseline interval"),
        *_per_emotion(
            "baseline", "0 to 1", "probability of {} at rest, corrected for before smoothing; the seven sum to 1"
        ),
        _field(
            "suspected_switch",
            pa.bool_(),
            "",
            "whether the track may have switched to another person where it crossed another track",
            nullable=False,
        ),
        _field(
            "switch_s", pa.float64(), "s", "most uncertain time: from here on it may be another person; NULL if none"
        ),
        _field(
            "movements_measured_s",
            pa.float64(),
            "s",
            "time in which movements can be found: good faces with trusted landmarks, at 20 or more frames per second "
            "on average, with gaps of up to 0.1 s between them, for 0.5 s or longer; NULL in results of version 0.1",
        ),
        _field(
            "movements",
            pa.list_(
                pa.struct(
                    [
                        ("kind", pa.string()),
                        ("start_s", pa.float64()),
                        ("end_s", pa.float64()),
                        ("strength", pa.float32()),
                    ]
                )
            ),
            "",
            "the movements of the track, which view movements shows as rows; only in the files",
        ),
    ],
    metadata={"description": "A row per track: one person, including times out of view."},
)

# A view of the column `movements` of tracks. Movements are stored there, so that they are replaced and deleted with it.
MOVEMENTS = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field("kind", pa.string(), "", f"one of {', '.join(MOVEMENT_KINDS)}"),
        _field("start_s", pa.float64(), "s", "onset"),
        _field("end_s", pa.float64(), "s", "offset (the interval is half-open)"),
        _field("duration_s", pa.float64(), "s", "end_s - start_s"),
        _field(
            "strength",
            pa.float32(),
            "see meaning",
            "blink: share by which the eyes close, 0 to 1; speaking: median swing of mouth_opening; nod and "
            "head_shake: median swing of head_pitch_deg or head_yaw_deg, in degrees",
        ),
    ],
    metadata={
        "description": "A row per movement of a track: blinks, speaking-like mouth movement, nods and head shakes. "
        "None lasts across a shot boundary or a gap. Empty for results of version 0.1. docs/movements.md has the rules."
    },
)

EPISODES = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field("emotion", pa.string(), "", "the emotion shown", nullable=False),
        _field("start_s", pa.float64(), "s", "onset", nullable=False),
        _field("end_s", pa.float64(), "s", "offset (the interval is half-open)", nullable=False),
        _field("duration_s", pa.float64(), "s", "end_s - start_s", nullable=False),
        _field(
            "onset_observed",
            pa.bool_(),
            "",
            "whether the person had a label just before, in the same shot; if not, the episode may have begun earlier",
        ),
        _field("offset_observed", pa.bool_(), "", "likewise just after; if not, the episode may have lasted longer"),
        _field("apex_s", pa.float64(), "s", "time of the highest smoothed probability", nullable=False),
        _field("peak", pa.float32(), "0 to 1", "highest smoothed probability", nullable=False),
        _field("mean", pa.float32(), "0 to 1", "mean smoothed probability over time", nullable=False),
    ],
    metadata={
        "description": "A row per interval in which a track shows an emotion clearly: its smooth_emotion, with a "
        "smoothed probability that has reached 0.5 and stays at 0.35 or more. The episodes of a track never overlap."
    },
)

TRANSITIONS = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field("from_emotion", pa.string(), "", "smooth_emotion before the change", nullable=False),
        _field("to_emotion", pa.string(), "", "smooth_emotion after the change", nullable=False),
        _field("count", pa.int64(), "", "number of such changes", nullable=False),
    ],
    metadata={
        "description": "A row per track and kind of change of smooth_emotion. No change is counted across a shot "
        "boundary, or more than 1 s without a label: it was not observed."
    },
)

# The track of each face from pass 2. It is stored next to the observations, whose appearance data may then be dropped.
IDENTITIES = pa.schema(
    [
        _FRAME[0],
        _field("face_index", pa.int16(), "", _FACE_INDEX, nullable=False),
        _field("track_id", pa.int32(), "", _TRACK_OF_FACE),
        _field(
            "is_switch", pa.bool_(), "", "whether the track may have switched to another person here", nullable=False
        ),
        _field("by_look", pa.bool_(), "", "whether tracklets were associated by appearance", nullable=False),
    ],
    metadata={"description": "The track of each face: a row per face."},
)

# The view `events`, which `connect(…, events=FILE)` and `--events FILE` add.
EVENTS_OF_VIDEOS = pa.schema(
    [
        _field(
            "video_id",
            pa.string(),
            "",
            "video of the event; an event without a video has a row for each video: always join USING (video_id)",
            nullable=False,
        ),
        _field("label", pa.string(), "", "label of the event", nullable=False),
        _field("start_s", pa.float64(), "s", "start, in the time of the video", nullable=False),
        _field("end_s", pa.float64(), "s", "end (half-open)", nullable=False),
    ],
    metadata={
        "description": "Only with `--events FILE` or `connect(…, events=FILE)`: a row per event and video. The file is "
        "a CSV with the columns start_s, end_s, label and optionally video (a path, file name or video_id); an event "
        "without a video belongs to every video. Events that repeat others of the same video are left out."
    },
)

EVENT_BINS = pa.schema(
    [
        *_IDS,
        _field("label", pa.string(), "", "label of the event"),
        _field("start_s", pa.float64(), "s", "start of the event (its onset), in the time of the video"),
        _field("end_s", pa.float64(), "s", "end of the event"),
        _TRACK_ID,
        _field("bin_start_s", pa.float64(), "s", "start of the bin of 0.5 s, from the onset; negative before it"),
        _field("ok_s", pa.float64(), "s", "time in the bin with a face of good quality"),
        _field("before_s", pa.float64(), "s", "time with a face of good quality in the 5 s before the onset"),
        *_per_emotion("p", "0 to 1", "mean of p_{} over ok_s, not smoothed"),
        *_per_emotion("change", "-1 to 1", "p_{} of the bin minus its mean over before_s; NULL if that is 0"),
    ],
    metadata={
        "description": "Only with `--events FILE` or `connect(…, events=FILE)`: curves around events; a row per event, "
        "video, track and bin of 0.5 s with a good face, from 5 s before the onset to the end of the event, without "
        "hidden people. `fervid summary RESULTS averages` averages them per participant, with intervals."
    },
)

PEOPLE = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field(
            "person",
            pa.string(),
            "",
            "the name given to the person in the dashboard, else P and the track number; with --all-analyses, NULL if "
            "the name may be that of another person, because it was given in an analysis with other tracks",
        ),
        _field(
            "participant",
            pa.string(),
            "",
            "identifies the person across videos: the name, which means the same person in every video; without a "
            "name, the video and the track, whereas `fervid summary` counts the people of a video without a name as "
            "one participant; NULL if person is",
        ),
        _field("is_named", pa.bool_(), "", "whether the person was given a name"),
        _field("is_hidden", pa.bool_(), "", "whether the person was hidden in the dashboard"),
    ],
    metadata={
        "description": "A row per track: the names of people and who is hidden, as set in the dashboard. Join it "
        "USING (video_id, track_id), with --all-analyses also analysis_id. `FROM visible('faces')` has the rows of "
        "faces without hidden people, and likewise for tracks, episodes and transitions. A track number that was "
        "hidden in one analysis is hidden in all of them, because the person may have the same number there."
    },
)

TIMELINE_TABLES = {
    "frames": FRAMES,
    "faces": FACES,
    "tracks": TRACKS,
    "episodes": EPISODES,
    "transitions": TRANSITIONS,
}
TABLES = {"videos": VIDEOS, **TIMELINE_TABLES}


def without(schema: pa.Schema, *names: str) -> pa.Schema:
    """`schema` without some columns: files omit `video_id`, which is in the folder name."""
    return pa.schema([field for field in schema if field.name not in names], metadata=schema.metadata)


# The views available to SQL. Observations include their ids, which are stored in the folder names only.
VIEWS = {
    **TABLES,
    "tracks": without(TRACKS, "movements"),
    "movements": MOVEMENTS,
    "observations": pa.schema(
        [*(VIDEOS.field(name) for name in ("video_id", "observation_id")), *OBSERVATIONS],
        metadata=OBSERVATIONS.metadata,
    ),
    "people": PEOPLE,
    "events": EVENTS_OF_VIDEOS,
    "event_bins": EVENT_BINS,
}


def timeline_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` without the ids, as pass 2 produces a table."""
    return without(schema, "video_id", "analysis_id")


def add_missing_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Select the columns of `schema` in order; columns that earlier versions did not write are NULL."""
    return pa.table(
        {
            field.name: table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
            for field in schema
        }
    )


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert `table` to the column order, types and metadata of `schema`.

    Raises:
        ValueError: if a column is missing or unknown, or has NULL where it must not.
    """
    if set(table.column_names) != set(schema.names):
        raise ValueError(f"columns must be {schema.names}, got {table.column_names}")
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name} must not have NULL")
    return table.select(schema.names).cast(schema)
