"""Sources of live video: a camera, a network address or a pipe, opened with FFmpeg."""

import logging
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

import av
import av.container

from fer_models.errors import FervidError
from fer_models.video.container import (
    MAX_FRAME_PX,
    MAX_PROBED_PX,
    SELF_CONTAINED_FORMATS,
    crop_exactly,
    disable_generated_times,
)

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0  # a source that sends nothing for this many seconds counts as lost
# FFmpeg's protocols for network sources; local files are excluded
_FROM_NETWORK = "crypto,http,https,httpproxy,rtmp,rtmps,rtmpt,rtp,rtsp,srt,srtp,tcp,tls,udp"
_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})
_RECEIVERS = frozenset({"rtp", "udp"})  # schemes whose address is local, because the sender connects to this machine
# How long FFmpeg probes a stream before the first frame, in microseconds: 1 s instead of its default of 5 s.
_QUICK_START = {"analyzeduration": "1000000"}
_CAMERA_FORMAT = {"linux": "v4l2", "darwin": "avfoundation"}
_IP_ADDRESS, _PORT = r"([0-9]+(\.[0-9]+){3}|\[[^\[\]]*\])", "(:[0-9]{0,5})?"
_IP_HOST, _HOST = re.compile(_IP_ADDRESS + _PORT), re.compile(rf"({_IP_ADDRESS}|[^:\[\]]*){_PORT}")
_ENCODE_USER = (
    "it is unclear where user and password end: percent-encode their special characters "
    "(% as %25, @ as %40, / as %2F, ? as %3F, # as %23, [ as %5B, ] as %5D) and each @ in path and query"
)
SUPPORTED_SOURCES = "a camera (0 or /dev/video0), an address (rtsp://…, http://…, udp://…, tcp://…) or - for a pipe"


class LiveSourceError(FervidError):
    """A live source cannot be opened, or has ended. The message names source and reason, without any password."""

    def __init__(self, shown: str, reason: str) -> None:
        super().__init__(shown, reason)
        self.reason = reason
        self.shown = shown

    def __str__(self) -> str:
        return f"{self.shown}: {self.reason}"


@dataclass(frozen=True)
class LiveSource:
    """A source of live video."""

    address: str = field(repr=False)  # the address that FFmpeg opens; may contain a password
    shown: str  # the address without user, password and query, as it is stored and printed
    ends: bool  # True if the session ends with the source; other sources are reconnected
    listens: bool = False  # True if the source waits for the sender to connect
    format: str | None = None  # FFmpeg's format name; None if FFmpeg detects it
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "LiveSource":
        """Parse the source given by the user.

        Raises:
            LiveSourceError: if it is not a live source, or the camera does not exist.

        >>> LiveSource.of("rtsp://anna:secret@10.0.0.5/hall?token=1").shown
        'rtsp://10.0.0.5/hall'
        """
        if text == "-":
            if sys.stdin is not None and sys.stdin.isatty():
                raise LiveSourceError(
                    "-", "nothing is piped in: pipe a video into it, as in ffmpeg … - | fervid live -"
                )
            return cls("pipe:0", "stdin", ends=True, options=_piped("pipe"))
        if text.isdecimal() or text.startswith("/dev/"):
            return _camera(text)
        scheme, _, rest = text.partition("://")
        if rest and scheme.lower() in _SCHEMES:
            parts = _split_address(text)
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
            options = _QUICK_START | {"protocol_whitelist": _FROM_NETWORK}
            if parts.scheme.startswith("rtsp"):
                options |= {"rtsp_transport": "tcp"}  # with UDP, each lost packet would damage frames
            has_listen = parse_qs(parts.query).get("listen", ["0"]) != ["0"]
            listens = parts.scheme in _RECEIVERS or (parts.scheme == "tcp" and has_listen)
            # FFmpeg does not know schemes in upper case; `urlsplit` returns them in lower case.
            address = parts.scheme + text.removeprefix(scheme)
            return cls(address, shown, ends=False, listens=listens, options=options)
        path = Path(text)
        if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
            return cls(f"file:{path.absolute()}", str(path.absolute()), ends=True, options=_piped("file"))
        if text and (path.is_file() or path.is_dir()):
            kind = "file" if path.is_file() else "folder"
            raise LiveSourceError(text, f"is a {kind}, not a live source: fervid analyze reads {kind}s")
        without_password = text.rpartition("@")[2] or "''"
        raise LiveSourceError(without_password, f"not a live source: give {SUPPORTED_SOURCES}")

    @contextmanager
    def open(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """Open the source and choose its video stream with the largest frames; close it on exit.

        Raises:
            LiveSourceError: if it cannot be opened, or has no video.
        """
        try:
            container = av.open(
                self.address,
                format=self.format,
                container_options=dict(self.options),
                options={"max_pixels": str(MAX_PROBED_PX)},
                timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S),
                metadata_errors="replace",
            )
        except (av.FFmpegError, ValueError) as error:
            raise LiveSourceError(self.shown, self._why_not(error)) from error
        with container:
            disable_generated_times(container)
            streams = [stream for stream in container.streams.video if stream.codec_context is not None]
            if not streams:
                raise LiveSourceError(self.shown, "sends no video that can be decoded: check the sender's format")
            stream = max(streams, key=lambda s: s.codec_context.width * s.codec_context.height)
            stream.thread_type = "SLICE"  # frame threads would each delay the output by one frame
            stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PX)}  # larger frames count as undecodable
            crop_exactly(stream.codec_context)
            stream.codec_context.copy_opaque = True  # frames get the time that their packets have in `DamageTracker`
            yield container, stream

    def _why_not(self, error: Exception) -> str:
        if isinstance(error, av.error.ExitError):
            return f"no data within {OPEN_TIMEOUT_S:g} s: start the sender, and check address, port and firewall"
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.error.ProtocolNotFoundError):
            scheme = self.shown.partition(":")[0]
            return f"PyAV was built without {scheme}: use ffmpeg -i ADDRESS -c copy -f mpegts - | fervid live -"
        if isinstance(error, av.error.InvalidDataError):
            return f"the data is not a video ({reason}): check the sender and its format"
        if isinstance(error, av.error.PermissionError):
            return (
                f"{reason}: for a camera on Linux, add your user to the group video; otherwise check user and password"
            )
        return f"cannot be opened ({reason}): start the sender, and check the address, user and password"


def _split_address(address: str) -> SplitResult:
    """The parts of a network address.

    Raises:
        LiveSourceError: if it is not clear where user and password end; the message does not repeat the address.
    """
    unclear = LiveSourceError(f"{address.partition(':')[0]}://…", _ENCODE_USER)
    try:
        parts = urlsplit(address)
    except ValueError:  # the error message contains the address
        raise unclear from None
    user, _, host = parts.netloc.rpartition("@")
    # A colon without a user may be one before a password, which ends at the first "/", "?" or "#".
    has_password = bool(user) or ":" in host
    is_clear = not has_password or _IP_HOST.fullmatch(host) or "@" not in parts.path + parts.query + parts.fragment
    if not is_clear or not _HOST.fullmatch(host):
        raise unclear
    return parts


def _piped(protocol: str) -> dict[str, str]:
    """Options for reading from a pipe: its content must not make FFmpeg open anything else."""
    return _QUICK_START | SELF_CONTAINED_FORMATS | {"protocol_whitelist": protocol}


def _camera(text: str) -> LiveSource:
    form = _CAMERA_FORMAT.get(sys.platform)
    if form is None or form not in {name for names in av.formats_available for name in names.split(",")}:
        raise LiveSourceError(text, "cameras are not supported here: stream to an address, or pipe the video in")
    if form == "avfoundation":
        return LiveSource(text, f"camera {text}", ends=False, format=form, options={"framerate": "30"})
    device = Path(f"/dev/video{text}" if text.isdecimal() else text)
    if not device.exists():
        available = ", ".join(map(str, sorted(Path("/dev").glob("video*")))) or "none"
        raise LiveSourceError(str(device), f"no such camera; available: {available}")
    return LiveSource(str(device), str(device), ends=False, format="video4linux2,v4l2")
