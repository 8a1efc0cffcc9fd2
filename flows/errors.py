"""Everything that can go wrong in the world, as opposed to in the code: told in a line, without a traceback."""

from analytics.sql import QueryError
from analytics.store import StoreError
from fer_models.classification.data import DataError
from fer_models.detection.data import FaceDataError
from fer_models.detection.references import ReferenceDetectorError
from fer_models.device import DeviceError
from fer_models.video import VideoReadError
from fer_models.weights import WeightsError
from flows.demo import DemoError
from flows.inputs import InputError
from flows.prefect_server import PrefectServerError

EXPECTED = (
    DataError,
    DemoError,
    DeviceError,
    FaceDataError,
    InputError,
    PrefectServerError,
    QueryError,
    ReferenceDetectorError,
    StoreError,
    VideoReadError,
    WeightsError,
)
