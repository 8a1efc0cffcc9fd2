"""The server of the dashboard: Streamlit's app, and beside it the routes that its player asks."""

import contextlib
import os
import threading
from pathlib import Path

import duckdb
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from streamlit.starlette import App

from analytics.results.store import StoreError
from dashboard.data import markers
from dashboard.data.live_refresh import results_etag, trainings_etag, video_etag
from dashboard.data.media import MIME, find_media
from dashboard.data.results import ENVIRONMENT, current_results
from dashboard.data.timeline_window import boxes, window

HERE = Path(__file__).parent
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def video_file(request: Request) -> Response:
    """The video behind an id, or its preview: in parts, as a player asks for them; no other file can be reached."""
    media = find_media(current_results(), request.path_params["video_id"])
    if media is None or media.shown is None:
        raise HTTPException(404, "no such video, or its file is not where it was")
    return FileResponse(media.shown, media_type=MIME.get(media.shown.suffix.lower(), "application/octet-stream"))


def window_json(request: Request) -> Response:
    """A span of the timeline: `?from_ms=…&to_ms=…&bins=…&source=smooth|raw`."""
    asked = request.query_params
    try:
        from_ms, to_ms, bins = (int(asked[name]) for name in ("from_ms", "to_ms", "bins"))
        video_id, source = request.path_params["video_id"], asked.get("source", "smooth")
        found = window(current_results(), video_id, from_ms, to_ms, bins, source)
    except (KeyError, ValueError) as error:
        raise HTTPException(400, str(error)) from error
    return JSONResponse(found)


def boxes_json(request: Request) -> Response:
    """The faces of a few seconds: `?from_s=…&to_s=…`."""
    asked = request.query_params
    try:
        video_id, source = request.path_params["video_id"], asked.get("source", "smooth")
        found = boxes(current_results(), video_id, float(asked["from_s"]), float(asked["to_s"]), source)
    except (KeyError, ValueError) as error:
        raise HTTPException(400, str(error)) from error
    return JSONResponse(found)


def etag(request: Request) -> Response:
    """Another text whenever there is more in the results."""
    try:
        return PlainTextResponse(results_etag(current_results()))
    except StoreError as error:
        raise HTTPException(503, str(error)) from error


def etag_of_video(request: Request) -> Response:
    """A text that changes when the results or the notes of a video change."""
    try:
        return PlainTextResponse(video_etag(current_results(), request.path_params["video_id"]))
    except StoreError as error:
        raise HTTPException(503, str(error)) from error


def trainings(request: Request) -> Response:
    """Another text whenever a training has come further."""
    return PlainTextResponse(trainings_etag())


ROUTES = [
    Route("/fervid/etag", etag),
    Route("/fervid/etag/{video_id}", etag_of_video),
    Route("/fervid/trainings", trainings),
    Route("/fervid/video/{video_id}", video_file),
    Route("/fervid/window/{video_id}", window_json),
    Route("/fervid/boxes/{video_id}", boxes_json),
    Mount("/fervid/player", StaticFiles(directory=HERE / "player")),
]


def warm_up() -> None:
    """Read what the first page needs while the browser is still being opened; a page says what is wrong with it."""
    with contextlib.suppress(StoreError, duckdb.Error):
        current_results().ask("SELECT count(*) FROM tracks")


def serve(
    results: Path, *, events: Path | None, address: str, port: int | None, allowed_hosts: tuple[str, ...]
) -> None:
    """Show `results` until the process is stopped.

    Args:
        results: a results folder.
        events: a CSV file of markers to show in the timelines.
        address: where to listen; the loopback address unless others are to see it.
        port: None for the first free one from 8501.
        allowed_hosts: names under which a browser may ask, beside those of this machine itself.
    """
    os.environ[ENVIRONMENT] = str(results.absolute())
    if events is not None:
        os.environ[markers.ENVIRONMENT] = str(events.absolute())
    threading.Thread(target=warm_up, daemon=True).start()
    hosts = [*LOOPBACK_NAMES, *allowed_hosts]
    app = App(
        HERE / "app.py",
        routes=ROUTES,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
    )
    app.run(
        config={
            "server.address": address,
            "server.port": port,
            "server.allowedHosts": hosts,  # no other site's name may be pointed here
            "server.headless": True,  # no browser is opened, no e-mail address asked for
            "server.fileWatcherType": "none",
            "browser.gatherUsageStats": False,
            "client.toolbarMode": "viewer",
            "theme.light.primaryColor": "#0072b2",
            "theme.dark.primaryColor": "#4aa3dd",
        }
    )
