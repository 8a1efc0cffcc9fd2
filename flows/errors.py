"""Everything that can go wrong in the world, as opposed to in the code: told in a line, without a traceback."""

from analytics.events import EventsError
from analytics.exports import ExportError
from analytics.groups import GroupError
from analytics.identities import IdentitiesError
from analytics.places import PlaceError
from analytics.report import ReportError
from analytics.sql import QueryError
from analytics.store import StoreError
from analytics.videos import UnknownVideoError
from fer_models.classification.data import DataError
from fer_models.classification.history import RunError
from fer_models.detection.data import FaceDataError
from fer_models.detection.references import ReferenceDetectorError
from fer_models.device import DeviceError
from fer_models.video import VideoReadError
from fer_models.video.live_source import LiveSourceError
from fer_models.weights import WeightsError
from flows.demo import DemoError
from flows.engines import EngineError
from flows.inputs import InputError
from flows.live_timeline import LiveTimelineError
from flows.prefect_server import PrefectServerError, ScheduleError
from flows.render import RenderError

EXPECTED = (
    DataError,
    DemoError,
    DeviceError,
    EngineError,
    EventsError,
    ExportError,
    FaceDataError,
    GroupError,
    IdentitiesError,
    InputError,
    LiveSourceError,
    LiveTimelineError,
    PlaceError,
    PrefectServerError,
    QueryError,
    RenderError,
    ReportError,
    RunError,
    ReferenceDetectorError,
    ScheduleError,
    StoreError,
    UnknownVideoError,
    VideoReadError,
    WeightsError,
)
