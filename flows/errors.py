"""Everything that can go wrong in the world, as opposed to in the code: told in a line, without a traceback."""

from analytics.events import EventsError
from analytics.exports import ExportError
from analytics.groups import GroupError
from analytics.identities import IdentitiesError
from analytics.places import PlaceError
from analytics.sql import QueryError
from analytics.store import StoreError
from analytics.videos import UnknownVideoError
from fer_models.classification.data import DataError
from fer_models.classification.history import RunError
from fer_models.detection.data import FaceDataError
from fer_models.detection.references import ReferenceDetectorError
from fer_models.device import DeviceError
from fer_models.video import VideoReadError
from fer_models.weights import WeightsError
from flows.demo import DemoError
from flows.inputs import InputError
from flows.prefect_server import PrefectServerError
from flows.render import RenderError

EXPECTED = (
    DataError,
    DemoError,
    DeviceError,
    EventsError,
    ExportError,
    FaceDataError,
    GroupError,
    IdentitiesError,
    InputError,
    PlaceError,
    PrefectServerError,
    QueryError,
    RenderError,
    RunError,
    ReferenceDetectorError,
    StoreError,
    UnknownVideoError,
    VideoReadError,
    WeightsError,
)
