"""The server of the dashboard: Streamlit's app, and beside it the routes that its player requests."""

import contextlib
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import duckdb
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.file_util import get_static_dir
from streamlit.starlette import App

from analytics.results.corrections import CorrectionError
from dashboard.data import codes as human_codes
from dashboard.data import markers
from dashboard.data.downloads import MIME as DOWNLOAD_MIME
from dashboard.data.downloads import download
from dashboard.data.edits import EditError, store_edit
from dashboard.data.library import read_library
from dashboard.data.live_refresh import results_etag, trainings_etag, video_etag
from dashboard.data.media import MEDIA_FOLDERS_ENVIRONMENT, find_media
from dashboard.data.prefect_runs import LOOPBACK_ADDRESSES
from dashboard.data.results import ENVIRONMENT, current_results
from dashboard.data.timeline_window import boxes, window
from dashboard.widgets.rows import THUMBNAILS_ENVIRONMENT
from fer_models.errors import FervidError

HERE = Path(__file__).parent
# Larger files get no thumbnail, because each file is read once to check that it is the analyzed one.
MAX_THUMBNAIL_BYTES = 256 * 2**20
# Headers that keep other sites from showing these pages in a frame and from reading what the routes return.
SECURITY_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}
STYLE_SHEET = '<link rel="stylesheet" href="./fervid/player/app.css">'
VIDEO_ID = re.compile("v[0-9a-f]{16}")
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
WILDCARD_ADDRESSES = ("0.0.0.0", "::")  # all addresses of this machine
# Options of Streamlit that are the same for every dashboard.
STREAMLIT_CONFIG = {
    "server.headless": True,  # do not open a browser or ask for an e-mail address
    "server.fileWatcherType": "none",
    "runner.magicEnabled": False,  # no page uses this feature, which would parse the page at each run
    # Python collects garbage anyway; a full collection after each run takes longer than most runs.
    "runner.postScriptGC": False,
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "viewer",
    "theme.light.primaryColor": "#0072b2",
    "theme.dark.primaryColor": "#4aa3dd",
}


def index_html(request: Request) -> Response:
    """Streamlit's page with `STYLE_SHEET`, because a style sheet that a script adds would shift the loaded content."""
    html = Path(get_static_dir(), "index.html").read_text(encoding="utf-8")
    html = html.replace("</body>", f"{STYLE_SHEET}</body>")  # placed after Streamlit's own rules, which it overrides
    return HTMLResponse(html, headers={"Cache-Control": "no-cache"})


def video_id_of(request: Request) -> str:
    """The id of the video in the path of a request, which the routes below use as the name of a folder.

    Raises:
        HTTPException: if it is not the id of any video.
    """
    video_id: str = request.path_params["video_id"]
    if not VIDEO_ID.fullmatch(video_id):
        raise HTTPException(404, "There is no such video.")
    return video_id


def video_file(request: Request) -> Response:
    """The video with an id, or its preview, in the requested range of bytes.

    No other file can be reached, not even through a path or a link that leads elsewhere since the analysis: the content
    must be the one that was analyzed.
    """
    media = find_media(current_results(), video_id_of(request))
    if media is None:
        raise HTTPException(404, "There is no such video.")
    if media.shown is None:
        kind = "Browsers cannot show this kind of file: make a preview copy on page Timeline."
        raise HTTPException(404, kind if media.exists else "The file is not where it was: page Timeline asks for it.")
    is_thumbnail = "thumbnail" in request.query_params
    if is_thumbnail and media.shown.stat().st_size > MAX_THUMBNAIL_BYTES:
        raise HTTPException(404, "The file is too large to be read for a thumbnail.")
    if not media.has_analyzed_content():
        raise HTTPException(409, "The file has changed since it was analyzed. Analyze it again to see it.")
    return FileResponse(media.shown, media_type=media.mime)


def window_json(request: Request) -> Response:
    """A time range of the timeline: `?from_ms=…&to_ms=…&bins=…&source=smooth|raw`."""
    parameters, video_id = request.query_params, video_id_of(request)
    try:
        from_ms, to_ms, bins = (int(parameters[name]) for name in ("from_ms", "to_ms", "bins"))
        found = window(current_results(), video_id, from_ms, to_ms, bins, parameters.get("source", "smooth"))
    except (KeyError, ValueError, duckdb.DataError) as error:  # the last one for times that SQL cannot compute with
        raise HTTPException(400, str(error)) from error
    return JSONResponse(found)


def boxes_json(request: Request) -> Response:
    """The faces of a few seconds: `?from_s=…&to_s=…&source=smooth|raw&landmarks=true|false`."""
    parameters, video_id = request.query_params, video_id_of(request)
    try:
        source = parameters.get("source", "smooth")
        from_s, to_s = float(parameters["from_s"]), float(parameters["to_s"])
        with_landmarks = parameters.get("landmarks") == "true"
        found = boxes(current_results(), video_id, from_s, to_s, source, with_landmarks=with_landmarks)
    except (KeyError, ValueError) as error:
        raise HTTPException(400, str(error)) from error
    return JSONResponse(found)


def exported_file(request: Request) -> Response:
    """A file of a video's rows, episodes, markers or subtitles, as a download."""
    video_id, name = video_id_of(request), request.path_params["name"]
    try:
        content = download(current_results(), video_id, name)
    except KeyError as error:
        raise HTTPException(404, str(error.args[0])) from error
    (path,) = current_results().ask("SELECT path FROM videos WHERE video_id = $id", id=video_id)["path"].to_pylist()
    saved_as = quote(f"{PurePosixPath(path).stem}-{name}")
    headers = {"Content-Disposition": f"attachment; filename*=utf-8''{saved_as}"}
    return Response(content, media_type=DOWNLOAD_MIME[Path(name).suffix], headers=headers)


async def edit(request: Request) -> Response:
    """Store a change that was made in the player, which sends it as JSON.

    Changes do not travel as messages of Streamlit's component, which drops one that another overtakes.
    """
    if request.headers.get("content-type") != "application/json":
        raise HTTPException(415, "Send the change as application/json.")  # which no form of another site can
    video_id = video_id_of(request)
    try:
        change = await request.json()
        await run_in_threadpool(store_known_edit, video_id, change)
    except (CorrectionError, ValueError, RecursionError) as error:
        raise HTTPException(400, str(error)) from error
    return Response(status_code=204)


def store_known_edit(video_id: str, change: object) -> None:
    """Store a change of a video of the results."""
    results = current_results()
    if find_media(results, video_id) is None:
        raise HTTPException(404, "There is no such video.")
    if not isinstance(change, dict):
        raise EditError("This change cannot be made: it is not an object.")
    store_edit(results, video_id, change)


def etag(request: Request) -> Response:
    """A text that changes when the results change."""
    return PlainTextResponse(results_etag(current_results()))


def etag_of_video(request: Request) -> Response:
    """A text that changes when the results or the notes of a video change."""
    return PlainTextResponse(video_etag(current_results(), video_id_of(request)))


def trainings(request: Request) -> Response:
    """A text that changes when a training advances."""
    return PlainTextResponse(trainings_etag())


def refuse(request: Request, error: Exception) -> Response:
    """The response where the results cannot be read: what is wrong, and how to repair it."""
    return PlainTextResponse(str(error), 503)


ROUTES = [
    Route("/", index_html),
    *(Route(f"/{view.stem}", index_html) for view in (HERE / "views").glob("*.py")),
    Route("/fervid/etag", etag),
    Route("/fervid/etag/{video_id}", etag_of_video),
    Route("/fervid/trainings", trainings),
    Route("/fervid/edit/{video_id}", edit, methods=["POST"]),
    Route("/fervid/video/{video_id}", video_file),
    Route("/fervid/export/{video_id}/{name}", exported_file),
    Route("/fervid/window/{video_id}", window_json),
    Route("/fervid/boxes/{video_id}", boxes_json),
    Mount("/fervid/player", StaticFiles(directory=HERE / "player")),
]
EXCEPTION_HANDLERS = {FervidError: refuse, duckdb.Error: refuse}


class SecurityHeaders:
    """Adds `SECURITY_HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def warm_up() -> None:
    """Read what the first page needs while the browser is being opened; errors are reported by the page."""
    with contextlib.suppress(FervidError, duckdb.Error):
        read_library(current_results())


def names_of(address: str) -> list[str]:
    """The host names in the addresses that browsers open if the dashboard listens on `address`.

    >>> names_of("192.0.2.7"), names_of("0.0.0.0")
    (['127.0.0.1', 'localhost', '[::1]', '192.0.2.7'], ['127.0.0.1', 'localhost', '[::1]'])
    """
    own = [] if address in WILDCARD_ADDRESSES else [f"[{address}]" if ":" in address else address]
    return list(dict.fromkeys([*LOOPBACK_NAMES, *own]))


def unreachable_note(address: str, allowed_hosts: Sequence[str]) -> str | None:
    """A sentence for a dashboard that listens on all networks but answers only this machine; None for others."""
    if address not in WILDCARD_ADDRESSES or allowed_hosts:
        return None
    return (
        f'{address}: browsers on other machines get "Invalid host header". Add --allowed-host NAME for each name or '
        "address of this machine that they open."
    )


def serve(
    results: Path,
    *,
    events: Path | None,
    codes: Path | None,
    address: str,
    port: int | None,
    allowed_hosts: tuple[str, ...],
    media_folders: tuple[Path, ...] = (),
) -> None:
    """Serve the dashboard of `results` until the process is stopped.

    Args:
        results: a results folder.
        events: a CSV file of markers to show in the timelines.
        codes: a file of human codes to show beside the timelines.
        address: the address to listen on; only this machine can reach the loopback address.
        port: None for the first free port from 8501.
        allowed_hosts: host names that a browser may request, besides `names_of` the address.
        media_folders: further folders in which videos that have moved may be.
    """
    os.environ[ENVIRONMENT] = str(results.absolute())
    os.environ[MEDIA_FOLDERS_ENVIRONMENT] = os.pathsep.join(str(folder.absolute()) for folder in media_folders)
    if events is not None:
        os.environ[markers.ENVIRONMENT] = str(events.absolute())
    if codes is not None:
        os.environ[human_codes.ENVIRONMENT] = str(codes.absolute())
    is_local = address in LOOPBACK_ADDRESSES and not allowed_hosts
    os.environ[THUMBNAILS_ENVIRONMENT] = "on" if is_local else "off"
    threading.Thread(target=warm_up, daemon=True).start()
    hosts = [*names_of(address), *allowed_hosts]
    app = App(
        HERE / "app.py",
        routes=ROUTES,
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
    )
    app.run(
        config={
            "server.address": address,
            "server.port": port,
            # Prevents another site from reaching the dashboard by pointing its own name at this machine.
            "server.allowedHosts": hosts,
            **STREAMLIT_CONFIG,
        }
    )
