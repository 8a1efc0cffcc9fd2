"""Where live pictures come from: a camera, an address on the network or a pipe, opened with FFmpeg."""

import logging
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import av
import av.container

from fer_models.errors import FervidError

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0  # nothing for so long, and the source counts as lost
_FROM_NETWORK = "crypto,http,https,httpproxy,rtmp,rtmps,rtmpt,rtp,rtsp,srt,srtp,tcp,tls,udp"  # and no file of ours
_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})
_RECEIVERS = frozenset({"rtp", "udp"})  # addresses of these are our own
# How long FFmpeg looks at a stream before it gives the first picture; by default 5 s.
_QUICK_START = {"analyzeduration": "1000000"}
_CAMERA_FORMAT = {"linux": "v4l2", "darwin": "avfoundation"}
WAYS = "a camera (0 or /dev/video0), an address (rtsp://…, http://…, udp://…, tcp://…, srt://…) or - for a pipe"


class LiveSourceError(FervidError):
    """A source of live pictures cannot be opened, or has ended; says which and why, without any password."""

    def __init__(self, shown: str, reason: str) -> None:
        super().__init__(shown, reason)
        self.reason = reason
        self.shown = shown

    def __str__(self) -> str:
        return f"{self.shown}: {self.reason}"


@dataclass(frozen=True)
class LiveSource:
    """Where pictures come from."""

    address: str = field(repr=False)  # what FFmpeg opens; may hold a password
    shown: str  # the same without user, password and query: what is stored and printed
    ends: bool  # whether its end is the end; all others are opened again
    listens: bool = False  # whether it waits for the sender, rather than calls it
    format: str | None = None  # FFmpeg's name; None: found out
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "LiveSource":
        """The source that a person means.

        Raises:
            LiveSourceError: if it is none, or the camera is not there.

        >>> LiveSource.of("rtsp://anna:secret@10.0.0.5/hall?token=1").shown
        'rtsp://10.0.0.5/hall'
        """
        if text == "-":
            if sys.stdin is not None and sys.stdin.isatty():
                raise LiveSourceError("-", "nothing is piped in: put a program that writes a video before it, and |")
            return cls("pipe:0", "stdin", ends=True, options=_QUICK_START)
        if text.isdecimal() or text.startswith("/dev/"):
            return _camera(text)
        parts = urlsplit(text)
        if parts.scheme in _SCHEMES:
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
            options = _QUICK_START | {"protocol_whitelist": _FROM_NETWORK}
            if parts.scheme.startswith("rtsp"):
                options |= {"rtsp_transport": "tcp"}  # over UDP, a lost packet is a damaged picture
            asked = parse_qs(parts.query).get("listen", ["0"]) != ["0"]
            listens = parts.scheme in _RECEIVERS or (parts.scheme == "tcp" and asked)
            return cls(text, shown, ends=False, listens=listens, options=options)
        path = Path(text)
        if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
            return cls(f"file:{path.absolute()}", str(path.absolute()), ends=True, options=_QUICK_START)
        if path.exists():
            raise LiveSourceError(text, "a file: fervid analyze reads files")
        raise LiveSourceError(text, f"no source of live pictures: give {WAYS}")

    @contextmanager
    def open(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """Open it and find its video, the one with the largest picture; close it whatever happens.

        Raises:
            LiveSourceError: if it cannot be opened, or has no video.
        """
        try:
            container = av.open(
                self.address,
                format=self.format,
                container_options=dict(self.options),
                timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S),
                metadata_errors="replace",
            )
        except (av.FFmpegError, ValueError) as error:
            raise LiveSourceError(self.shown, self._why_not(error)) from error
        with container:
            streams = [stream for stream in container.streams.video if stream.codec_context is not None]
            if not streams:
                raise LiveSourceError(self.shown, "sends no video that can be decoded: check what it sends")
            stream = max(streams, key=lambda s: s.codec_context.width * s.codec_context.height)
            stream.thread_type = "SLICE"  # threads that decode one frame each would keep as many frames back
            yield container, stream

    def _why_not(self, error: Exception) -> str:
        if isinstance(error, av.error.ExitError):
            wait = f"nothing came within {OPEN_TIMEOUT_S:g} s"
            return f"{wait}: start what sends, and check address, port and firewall"
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.error.ProtocolNotFoundError):
            scheme = self.shown.partition(":")[0]
            return f"PyAV was built without {scheme}: ffmpeg -i ADDRESS -c copy -f mpegts - | fervid live - reads it"
        if isinstance(error, av.error.InvalidDataError):
            return f"what comes is no video ({reason}): check what is sent, and in which format"
        if isinstance(error, av.error.PermissionError):
            return f"{reason}: on Linux, cameras are for the group video; else check user and password"
        return f"cannot be opened ({reason}): start what sends, and check the address, user and password"


def _camera(text: str) -> LiveSource:
    form = _CAMERA_FORMAT.get(sys.platform)
    if form is None or form not in {name for names in av.formats_available for name in names.split(",")}:
        raise LiveSourceError(text, "cameras cannot be read here: send its pictures to an address, or pipe them in")
    if form == "avfoundation":
        return LiveSource(text, f"camera {text}", ends=False, format=form, options={"framerate": "30"})
    device = Path(f"/dev/video{text}" if text.isdecimal() else text)
    if not device.exists():
        there = ", ".join(map(str, sorted(Path("/dev").glob("video*")))) or "none"
        raise LiveSourceError(str(device), f"no such camera; there are: {there}")
    return LiveSource(str(device), str(device), ends=False, format="video4linux2,v4l2")
