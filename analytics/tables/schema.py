"""The columns of every table, with unit and meaning; `analytics.tables.schema_page` writes docs/schema.md from them."""

import numpy as np
import pyarrow as pa

from analytics.affect import AROUSAL_WEIGHTS, VALENCE_WEIGHTS
from analytics.tables.quantization import STEPS_IN_WORDS
from fer_models.labels import EMOTIONS

SEEN_STATUSES = ("ok", "no_face")
# The last two come from live sessions: a frame that the machine was too slow for, and a row for the time without any.
FRAME_STATUSES = (*SEEN_STATUSES, "decode_error", "dropped", "no_signal")
VIDEO_STATUSES = ("done", "failed")
N_TIMELINE_TABLES = 5  # see TIMELINE_TABLES
QUALITY_REASONS = ("low_detection_score", "too_small", "cut_off", "turned_away", "dark", "blurred")


def _field(name: str, kind: pa.DataType, unit: str, description: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description, "unit": unit})


def explained(description: str, *columns: tuple[str, pa.DataType, str, str]) -> pa.Schema:
    """A schema that says what a row is, and of each column its name, type, unit and meaning."""
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
        "hash of the file's content (live: of address and start); the folder name `video_id=…`",
        nullable=False,
    ),
    _field("analysis_id", pa.string(), "", "hash of the video, its weights and all settings", nullable=False),
]
_FRAME = [
    _field("frame_index", pa.int64(), "", "0-based place of the frame in the video", nullable=False),
    _field(
        "pts_s",
        pa.float64(),
        "s",
        "player time of the frame: presentation time less start_time_s",
        nullable=False,
    ),
]
_FRAME_STATUS = _field("status", pa.string(), "", f"one of {', '.join(FRAME_STATUSES)}", nullable=False)
_DETECTION = _field(
    "detection",
    pa.string(),
    "",
    "where faces were searched for: full (the whole frame) or close_up (around the faces of the key frames before and "
    "after it, see --detect-every); NULL if the frame was not seen",
)
_TRACK_ID = _field("track_id", pa.int32(), "", "track in this video, from 0 in order of appearance", nullable=False)
_FACE_INDEX = "0-based place among the faces of the frame"
_BOX_AND_LANDMARKS = [
    *[
        _field(name, pa.float32(), "px", f"{side} edge of the face box, in pixels of the shown frame")
        for name, side in (("x1_px", "left"), ("y1_px", "top"), ("x2_px", "right"), ("y2_px", "bottom"))
    ],
    _field("det_score", pa.float32(), "0 to 1", "the detector's score of the face"),
    _field(
        "landmarks_px",
        pa.list_(pa.float32(), 10),
        "px",
        "x, y of right eye, left eye, nose, right and left mouth corner (the person's right and left)",
    ),
]
_PROBABILITIES = _per_emotion("p", "0 to 1", "calibrated probability of {}; the seven, with p_other if any, sum to 1")
_FURTHER_OUTPUTS = [
    _field("p_other", pa.float32(), "0 to 1", "probability of the model's other classes; NULL: the model has none"),
    _field("valence", pa.float32(), "-1 to 1", "the model's own valence, not from p_…; NULL: it does not output one"),
    _field("arousal", pa.float32(), "-1 to 1", "the model's own arousal, likewise"),
]
_FACE_MEASURES = [
    _field("face_px", pa.float32(), "px", "size of the face: square root of the area of its box"),
    _field("interocular_px", pa.float32(), "px", "distance between the two eye landmarks"),
    _field("blur", pa.float32(), "gray levels²", "variance of the Laplacian of the gray 48x48 px crop; low: blurred"),
    _field("brightness", pa.float32(), "0 to 255", "mean gray level of the crop"),
    _field("cut_off", pa.float32(), "0 to 1", "share of the crop outside the frame"),
    _field("yaw_deg", pa.float32(), "°", "head turn guessed from the landmarks; positive: nose right of center"),
    _field("roll_deg", pa.float32(), "°", "slope of the eye line; positive: clockwise in the frame"),
]

OBSERVATIONS = pa.schema(
    [
        *_FRAME,
        _FRAME_STATUS,
        _DETECTION,
        _field(
            "look",
            pa.list_(pa.uint8(), 48),
            "0 to 255",
            "mean red, green, blue of the cells of a 4x4 grid over the frame, to find cuts; NULL if it was not seen",
        ),
        _field("face_index", pa.int16(), "", f"{_FACE_INDEX}; NULL, as are all columns after it, without a face"),
        *_BOX_AND_LANDMARKS,
        *_PROBABILITIES,
        *_FURTHER_OUTPUTS,
        *_FACE_MEASURES,
        _field(
            "signature",
            pa.list_(pa.uint8(), 60),
            "0 to 255",
            "mean red, green, blue of 4x4 cells of the crop and of 2x2 cells below it, to tell people apart; "
            "NULL once the tracks are joined, unless signatures are kept",
        ),
    ],
    metadata={"description": "What pass 1 saw: a row per face per sampled frame, one without face columns if none."},
)

VIDEOS = pa.schema(
    [
        *_IDS,
        _field("observation_id", pa.string(), "", "hash of the video, the weights and the settings of pass 1"),
        _field("path", pa.string(), "", "path of the video when it was analyzed", nullable=False),
        _field("sha256", pa.string(), "", "sha256 of the file's content; NULL if the file could not be read"),
        _field("size_bytes", pa.int64(), "bytes", "size of the file"),
        _field("object_version", pa.string(), "", "version of the file, by the object store or by size, times, inode"),
        _field("container", pa.string(), "", "container format"),
        _field("codec", pa.string(), "", "video codec"),
        _field("video_stream", pa.int32(), "", "which of the file's video streams was read, from 0; NULL: an image"),
        _field("width_px", pa.int32(), "px", "width of the shown frame: turned, mirrored, with square pixels"),
        _field("height_px", pa.int32(), "px", "height of the shown frame"),
        _field("rotation_deg", pa.int32(), "°", "clockwise turn from the stored to the shown frame"),
        _field("is_mirrored", pa.bool_(), "", "whether the stored frame is mirrored left to right before it is turned"),
        _field("start_time_s", pa.float64(), "s", "the container's time at which a player begins: there pts_s is 0"),
        _field("duration_s", pa.float64(), "s", "duration of the file as a player shows it, sound included"),
        _field("shown_until_s", pa.float64(), "s", "when the last frame looked at ends; NULL: not stated"),
        _field("n_clock_jumps", pa.int64(), "", "how often its clock restarts or jumps: pts_s then goes on from there"),
        _field("n_frames", pa.int64(), "", "frames in the video; table frames has those that were sampled"),
        _field("avg_fps", pa.float64(), "1/s", "mean frame rate of the video"),
        _field("is_vfr", pa.bool_(), "", "whether the frame rate varies"),
        _field("decoder", pa.string(), "", "library that decoded the video"),
        _field("decoder_reason", pa.string(), "", "why that one"),
        _field("notes", pa.string(), "", "what was chosen, repaired or left out in reading the file, in sentences"),
        _field("status", pa.string(), "", f"one of {', '.join(VIDEO_STATUSES)}", nullable=False),
        _field("error", pa.string(), "", "why the analysis failed; of one that is done, why a later run failed"),
        _field("started_at", pa.timestamp("us", "UTC"), "", "when the analysis started"),
        _field("finished_at", pa.timestamp("us", "UTC"), "", "when the analysis was done or failed", nullable=False),
        _field("frames_per_s", pa.float64(), "1/s", "sampled frames analyzed per second"),
        _field(
            "n_observed", pa.int64(), "", "sampled frames that the last run looked at; the others were there already"
        ),
        *[
            _field(f"{stage}_s", pa.float64(), "s", f"time that the last run spent {doing}")
            for stage, doing in (
                ("decode_wait", "waiting for pictures, which are decoded beside the other stages"),
                ("detect", "finding faces"),
                ("crop", "cutting out and measuring faces"),
                ("classify", "reading emotions"),
            )
        ],
        _field("live_since", pa.timestamp("us", "UTC"), "", "of a live session: when pts_s was 0; NULL for a file"),
        _field("is_running", pa.bool_(), "", "of a live session: whether it went on when this was written"),
        _field(
            "settings", pa.string(), "JSON", "every setting that can change a number; in run, how the run was asked for"
        ),
        _field("joined_by_look", pa.bool_(), "", "whether tracks were joined by look; false: signatures were dropped"),
        _field("weights", pa.string(), "JSON", "sha256 of the weights of each model"),
        _field("versions", pa.string(), "JSON", "versions of the libraries used"),
        _field(
            "table_crc32",
            pa.list_(pa.uint32(), N_TIMELINE_TABLES),
            "",
            "CRC-32 of the files of frames, faces, tracks, episodes and transitions as they were written",
        ),
        _field("table_bytes", pa.list_(pa.int64(), N_TIMELINE_TABLES), "bytes", "sizes of these files"),
        _field("row_crc32", pa.uint32(), "", "CRC-32 of the other values of the row"),
    ],
    metadata={"description": "A row per analysis of a video: what it is, how it was analyzed, whether that went well."},
)

FRAMES = pa.schema(
    [
        *_IDS,
        *_FRAME,
        _field(
            "duration_s",
            pa.float64(),
            "s",
            "time to the next sampled frame; the last: to shown_until_s, else median of the others",
        ),
        _FRAME_STATUS,
        _DETECTION,
        _field("n_faces", pa.int32(), "", "faces found in the frame; NULL if it was not seen"),
        _field("is_cut", pa.bool_(), "", "whether a hard cut lies just before the frame", nullable=False),
    ],
    metadata={"description": "A row per sampled frame."},
)

FACES = pa.schema(
    [
        *_IDS,
        *_FRAME,
        _field("duration_s", pa.float64(), "s", "duration_s of the frame: the weight of the face in shares of time"),
        _field("face_index", pa.int16(), "", _FACE_INDEX, nullable=False),
        _field("track_id", pa.int32(), "", "track the face belongs to; NULL: seen too briefly to be one"),
        *_BOX_AND_LANDMARKS,
        *_PROBABILITIES,
        *_FURTHER_OUTPUTS,
        _field("emotion", pa.string(), "", "emotion with the highest probability"),
        _field("p_max", pa.float32(), "0 to 1", "its probability"),
        _field("entropy", pa.float32(), "bit", "entropy of the probabilities: 0 is certain, 2.81 knows nothing"),
        *_per_emotion(
            "smooth",
            "0 to 1",
            "p_{} (less the baseline, if asked for) smoothed in its track: mean over good faces, each weighted with "
            "its time and exp(-distance in time / time_constant_s); the seven sum to 1",
        ),
        _field("smooth_emotion", pa.string(), "", "emotion after smoothing; changes only when another clearly leads"),
        _field(
            "label_carried",
            pa.bool_(),
            "",
            "whether smooth_emotion comes from good faces of the track up to max_reach_s (0.3 s) before or after only, "
            "this face being of low quality; NULL without smooth_emotion",
        ),
        _field(
            "valence_proxy",
            pa.float32(),
            "-1 to 1",
            f"pleasant or not, from p_… without a baseline: {_weighted_sum(VALENCE_WEIGHTS)}",
        ),
        _field(
            "arousal_proxy",
            pa.float32(),
            "-1 to 1",
            f"excited or calm, likewise: {_weighted_sum(AROUSAL_WEIGHTS)}",
        ),
        *_FACE_MEASURES,
        _field(
            "quality_ok",
            pa.bool_(),
            "",
            "whether it is good enough to count in smoothing and summaries (with --no-gate all do)",
        ),
        _field("quality_reason", pa.string(), "", f"why not: one of {', '.join(QUALITY_REASONS)}"),
    ],
    metadata={"description": f"The emotion timeline: a row per face per sampled frame. {STEPS_IN_WORDS}"},
)

TRACKS = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field("start_s", pa.float64(), "s", "time of its first frame", nullable=False),
        _field("end_s", pa.float64(), "s", "time at which its last frame stops being shown", nullable=False),
        _field("n_faces", pa.int64(), "", "faces in the track", nullable=False),
        _field("n_faces_ok", pa.int64(), "", "of these, faces of good quality; the others were gated", nullable=False),
        _field("seen_s", pa.float64(), "s", "time for which its face was seen: the frames' durations", nullable=False),
        _field("ok_s", pa.float64(), "s", "of seen_s, the time with a face of good quality", nullable=False),
        _field("mean_det_score", pa.float32(), "0 to 1", "mean detection score"),
        _field("mean_face_px", pa.float32(), "px", "mean face size"),
        *_per_emotion(
            "mean",
            "0 to 1",
            "mean of p_{} over ok_s (with --no-gate over seen_s), without smoothing or baseline; the seven sum to 1",
        ),
        _field("emotion", pa.string(), "", "dominant emotion: that with the largest share of time"),
        _field("labelled_s", pa.float64(), "s", "time with a known smooth_emotion: what the shares are shares of"),
        _field("carried_s", pa.float64(), "s", "of labelled_s, the time with a carried label: see faces.label_carried"),
        *_per_emotion("share", "0 to 1", "share of the time with a known smooth_emotion that it is {}; they sum to 1"),
        _field("baseline_start_s", pa.float64(), "s", "start of the stretch taken as its face at rest; NULL: none"),
        _field("baseline_end_s", pa.float64(), "s", "end of that stretch"),
        *_per_emotion("baseline", "0 to 1", "probability of {} at rest, which was taken off before smoothing"),
        _field(
            "suspected_switch",
            pa.bool_(),
            "",
            "whether it may have gone on as another person where it met another track",
            nullable=False,
        ),
        _field("switch_s", pa.float64(), "s", "the most doubtful moment: from here on it may be another; NULL if none"),
    ],
    metadata={"description": "A row per track: one person, also if out of sight in between."},
)

EPISODES = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field("emotion", pa.string(), "", "the emotion shown", nullable=False),
        _field("start_s", pa.float64(), "s", "onset", nullable=False),
        _field("end_s", pa.float64(), "s", "offset (the span is half-open)", nullable=False),
        _field("duration_s", pa.float64(), "s", "end_s - start_s", nullable=False),
        _field(
            "onset_observed",
            pa.bool_(),
            "",
            "whether the person was seen with a label just before, in the same shot; if not, it may have begun earlier",
        ),
        _field("offset_observed", pa.bool_(), "", "likewise just after; if not, it may have lasted longer"),
        _field("apex_s", pa.float64(), "s", "time of the highest smoothed probability", nullable=False),
        _field("peak", pa.float32(), "0 to 1", "highest smoothed probability", nullable=False),
        _field("mean", pa.float32(), "0 to 1", "mean smoothed probability over time", nullable=False),
    ],
    metadata={
        "description": "A row per span of time in which a track shows an emotion clearly: its smooth_emotion, with a "
        "smoothed probability that has reached 0.5 and stays at 0.35 or more. The spans of a track never overlap."
    },
)

TRANSITIONS = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field("from_emotion", pa.string(), "", "smooth_emotion before the change", nullable=False),
        _field("to_emotion", pa.string(), "", "smooth_emotion after the change", nullable=False),
        _field("count", pa.int64(), "", "how often it changed so", nullable=False),
    ],
    metadata={"description": "A row per track and kind of change of smooth_emotion."},
)

# Which face is whose, as pass 2 found it: kept beside the observations, whose signatures may then be dropped.
IDENTITIES = pa.schema(
    [
        _FRAME[0],
        _field("face_index", pa.int16(), "", _FACE_INDEX, nullable=False),
        _field("track_id", pa.int32(), "", "track the face belongs to; NULL: seen too briefly to be one"),
        _field("is_switch", pa.bool_(), "", "whether the track may go on as another person from here", nullable=False),
        _field("by_look", pa.bool_(), "", "whether signatures were there to tell people apart", nullable=False),
    ],
    metadata={"description": "Whose face is whose: a row per face."},
)

# What `connect(…, events=FILE)` and `--events FILE` show beside the tables.
EVENTS_OF_VIDEOS = pa.schema(
    [
        _field(
            "video_id",
            pa.string(),
            "",
            "video of the event; one of every video has a row for each: always join USING (video_id)",
            nullable=False,
        ),
        _field("label", pa.string(), "", "what happens", nullable=False),
        _field("start_s", pa.float64(), "s", "from when it lasts, in the time of the video", nullable=False),
        _field("end_s", pa.float64(), "s", "to when (half-open)", nullable=False),
    ],
    metadata={
        "description": "Only with `--events FILE` or `connect(…, events=FILE)`: a row per event and video. The file is "
        "a CSV with the columns start_s, end_s, label and perhaps video (a path, file name or video_id); an event "
        "without a video is one of every video."
    },
)

PEOPLE = pa.schema(
    [
        *_IDS,
        _TRACK_ID,
        _field("person", pa.string(), "", "the name given to the person in the dashboard, else P and the track number"),
        _field(
            "participant",
            pa.string(),
            "",
            "who it is across videos: the name, which is the same person in every video; without a name, the video and "
            "the track",
        ),
        _field("is_named", pa.bool_(), "", "whether the person was given a name"),
        _field("is_hidden", pa.bool_(), "", "whether the person was hidden in the dashboard"),
    ],
    metadata={
        "description": "A row per track: the names of people and who is hidden, as noted in the dashboard. Join it "
        "USING (video_id, track_id)."
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


# What SQL can be asked of. Observations and events are shown with the ids that their files leave to the folders' names.
VIEWS = {
    **TABLES,
    "observations": pa.schema(
        [*(VIDEOS.field(name) for name in ("video_id", "observation_id")), *OBSERVATIONS],
        metadata=OBSERVATIONS.metadata,
    ),
    "people": PEOPLE,
    "events": EVENTS_OF_VIDEOS,
}


def without(schema: pa.Schema, *names: str) -> pa.Schema:
    """`schema` less some columns: files leave out `video_id`, which their folder's name holds."""
    return pa.schema([field for field in schema if field.name not in names], metadata=schema.metadata)


def timeline_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` less the ids, as pass 2 makes a table."""
    return without(schema, "video_id", "analysis_id")


def add_missing_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with the columns of `schema` in its order; those that earlier versions did not write are NULL."""
    return pa.table(
        {
            field.name: table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
            for field in schema
        }
    )


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with the columns in the order, of the types and with the metadata of `schema`.

    Raises:
        ValueError: if a column is missing or unknown, or has NULL where it must not.
    """
    if set(table.column_names) != set(schema.names):
        raise ValueError(f"columns must be {schema.names}, got {table.column_names}")
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name} must not have NULL")
    return table.select(schema.names).cast(schema)
