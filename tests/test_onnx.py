"""ONNX models of users: results equal those of the exported network, and invalid models are rejected."""

import json
import pickle
import re
import shutil

import av
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from clips import CPU, analyze_clip
from commands import fervid
from conftest import write_clip

pytest.importorskip("onnxruntime", reason="ONNX Runtime is an extra")
pytest.importorskip("onnx", reason="the package onnx makes the models of these tests")

from onnx_models import DEFAULT, constant_model, export_default

from analytics import connect
from fer_models import EMOTIONS, load_classifier
from fer_models.classification.architectures import build_network
from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.onnx_spec import OnnxSpec
from fer_models.errors import PredictionError
from fer_models.evaluation.comparison import Compared, multiply_adds
from fer_models.model_installation.registration import add_model, make_ensemble
from fer_models.model_installation.verification import check_models
from fer_models.registry.model_registry import WeightsError, load_model_folder
from flows.analysis.analyze_video import analyze_video
from flows.analysis.card_hash import card_hash
from flows.analysis.context import AnalysisContext
from flows.analysis.finished_work import FinishedIndex
from flows.settings import AnalyzeSettings
from flows.training.comparison_report import cost_table

pytestmark = pytest.mark.slow

# Softmax of the logits 0, ln 2, … has simple shares; the columns have another order and other names than Fervid's.
CLASSES = ["Neutral", "Happiness", "Contempt", "Anger", "Disgust", "Fear", "Sadness", "Surprise", "valence", "arousal"]
CARD = {"classes": CLASSES, "input_size_px": 8}
LOG2 = float(np.log(2))


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "fervid" / "models"


def add(tmp_path, outputs, /, name="tiny", batch=None, then="Identity", **card):
    constant_model(tmp_path / f"{name}.onnx", outputs, batch=batch, then=then)
    (tmp_path / f"{name}.json").write_text(json.dumps(CARD | card))
    return add_model(name, tmp_path / f"{name}.onnx", tmp_path / f"{name}.json")


def test_our_network_as_onnx_gives_the_same_probabilities_and_tables(tmp_path, face_clip):
    card = export_default(tmp_path / "default.onnx")
    (tmp_path / "card.json").write_text(json.dumps(card))
    run = fervid("models", "add", "mine", tmp_path / "default.onnx", "--card", tmp_path / "card.json")
    assert run.exit_code == 0, run.output
    assert "photograph hopper" in run.output and "photograph collins" in run.output
    mine = load_classifier("mine", "cpu")
    assert (mine.input_px, mine.dtype) == (44, torch.float32)
    weights, our_card = load_model_folder(DEFAULT)
    network = build_network(our_card.architecture, our_card.architecture_options)
    network.load_state_dict(weights)
    ours = EmotionClassifier(network, our_card, mine.device, torch.float32)
    crops = np.random.default_rng(0).integers(0, 256, (37, 48, 48, 3), dtype=np.uint8)
    np.testing.assert_allclose(mine.predict(crops), ours.predict(crops), atol=1e-3)
    np.testing.assert_array_equal(mine.predict(crops[5:7]), mine.predict(crops)[5:7])

    faces = {}
    for model in ("default", "mine"):
        analyze_clip(face_clip, tmp_path / model, CPU.model_copy(update={"model": model}))
        faces[model] = (
            connect(tmp_path / model).sql("SELECT * FROM faces ORDER BY frame_index, face_index").to_arrow_table()
        )
    assert faces["mine"].schema == faces["default"].schema and len(faces["mine"]) == len(faces["default"]) > 0
    for column in faces["mine"].column_names:
        if column.startswith(("p_", "smooth_", "valence", "arousal", "entropy", "analysis_id")):
            continue
        assert faces["mine"][column].equals(faces["default"][column]), column
    for name in EMOTIONS:
        difference = pc.subtract(faces["mine"][f"p_{name}"], faces["default"][f"p_{name}"])
        assert pc.max(pc.abs(difference)).as_py() < 0.02  # the default runs in bfloat16 where the processor has it
    assert all(faces["mine"][name].null_count == len(faces["mine"]) for name in ("p_other", "valence", "arousal"))


def test_classes_in_any_order_and_other_names_are_mapped(tmp_path):
    # Their softmax is 1, 4, 2, 1, 1, 1, 1 and 1 twelfths. A black image adds 0 to the first three.
    logits = [0, 2 * LOG2, LOG2, 0, 0, 0, 0, 0, 0.25, -0.5]
    add(tmp_path, {"out": logits})
    black = np.zeros((3, 8, 8, 3), np.uint8)
    outputs = load_classifier("tiny", "cpu").predict_all(black)
    twelfth = 1 / 12
    expected = [twelfth, twelfth, twelfth, 4 * twelfth, twelfth, twelfth, twelfth, 2 * twelfth, 0.25, -0.5]
    np.testing.assert_allclose(outputs, [expected] * 3, atol=1e-6)
    assert load_classifier("tiny", "cpu").predict(black).shape == (3, 7)


def test_a_corrected_card_is_not_taken_for_the_earlier_one(tmp_path, face_clip):
    # The second output has a share of 0.99 or more; the card says which emotion it is.
    seven = ["happy", "sad", "angry", "disgust", "fear", "neutral", "surprise"]
    settings = AnalyzeSettings(device="cpu", model="mine")
    shown, contexts = [], []
    for classes in (seven, [*seven[1:], seven[0]]):
        add(tmp_path, {"out": [0, 10.0, 0, 0, 0, 0, 0]}, name="mine", classes=classes)
        outcome = analyze_video(face_clip, AnalysisContext(tmp_path / "out", settings))
        assert outcome.status == "done"
        again = FinishedIndex.read(tmp_path / "out", settings).find(face_clip)
        assert again is not None and again.ids.analysis_id == outcome.analysis_id
        shown += connect(tmp_path / "out").sql("SELECT DISTINCT emotion FROM faces").fetchall()
        # A worker of a cluster, which outlives a run, loads its context from this.
        contexts.append(pickle.loads(pickle.dumps(AnalysisContext(tmp_path / "out", settings))))
        assert fervid("models", "remove", "mine", "--yes").exit_code == 0
    assert shown == [("sad",), ("angry",)]
    assert contexts[0] is not contexts[1]


def test_the_card_of_a_member_is_part_of_its_ensemble(tmp_path):
    hashes = []
    for temperature in (1.0, 2.0):
        first = add(tmp_path, {"out": [0.0] * 10}, name="first", temperature=temperature)
        make_ensemble(tmp_path / "both", "both", ["first", str(DEFAULT)])
        hashes.append(card_hash(tmp_path / "both"))
        shutil.rmtree(tmp_path / "both")
        shutil.rmtree(first)
    assert hashes[0] != hashes[1]
    assert card_hash(DEFAULT) is None  # ids of analyses with models of the package depend on their weights only


def test_synonyms_of_classes_are_understood():
    spec = OnnxSpec(("Scared", "afraid", " Joy", "contempt", "unknown", "valence", "ignore"), 48)
    assert spec.meanings("card.json") == ["fear", "fear", "happy", "other", "other", "valence", "ignore"]
    assert OnnxSpec(("Calm",), 48, class_map={"Calm": "Happiness"}).meanings("card.json") == ["happy"]


def test_outputs_are_joined_and_further_classes_summed(tmp_path):
    classes = ["anger", "disgust", "fear", "happy", "sad", "surprised", "neutral", "contempt", "calm", "age", "arousal"]
    add(
        tmp_path,
        {"emotions": [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2], "more": [33, 0.5]},
        classes=classes,
        class_map={"calm": "other", "age": "ignore"},
        outputs=["emotions", "more"],
        scores="probabilities",
    )
    outputs = load_classifier("tiny", "cpu").predict_all(np.zeros((1, 8, 8, 3), np.uint8))
    np.testing.assert_allclose(outputs[0, :8], [0.1] * 7 + [0.3], atol=1e-6)
    assert np.isnan(outputs[0, 8]) and outputs[0, 9] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({}, [1, 128 / 255, 0]),
        ({"channels": "bgr"}, [0, 128 / 255, 1]),
        ({"value_range": [0, 255]}, [255, 128, 0]),
        ({"value_range": [-1, 1]}, [1, 1 / 255, -1]),
        ({"mean": [0.5, 0.25, 0.0], "std": [0.5, 0.25, 2.0]}, [1, (128 / 255 - 0.25) / 0.25, 0]),
        ({"mean": 0.5, "std": 0.25, "channels": "bgr"}, [-2, (128 / 255 - 0.5) / 0.25, 2]),
    ],
    ids=str,
)
def test_inputs_are_normalized_as_the_card_says(tmp_path, card, expected):
    add(tmp_path, {"out": [0.0] * 10}, **card)
    crop = np.broadcast_to(np.array([255, 128, 0], np.uint8), (1, 8, 8, 3))
    prepared = load_classifier("tiny", "cpu").prepare(torch.from_numpy(crop.copy()))
    np.testing.assert_allclose(prepared[0, :, 3, 3], expected, atol=1e-5)


def test_a_fixed_batch_size_is_used(tmp_path):
    add(tmp_path, {"out": [0.0] * 10}, batch=1)
    crops = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    classifier = load_classifier("tiny", "cpu")
    assert classifier.chunk_crops == 1
    np.testing.assert_allclose(classifier.predict_all(crops)[:, :8].sum(axis=1), 1, atol=1e-5)


def test_box_framing_widens_the_square_around_the_box(tmp_path):
    add(tmp_path, {"out": [0.0] * 10}, framing="box", box_margin=0.5)
    classifier = load_classifier("tiny", "cpu")
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    frame[:, 16:48, 16:48] = 255  # twice the box below: the whole crop is white, whatever the landmarks say
    crops = classifier.crop(
        torch.zeros(1, 8, 8, 3, dtype=torch.uint8),
        torch.from_numpy(frame),
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([[24.0, 24.0, 40.0, 40.0]]),
        torch.zeros(1, dtype=torch.complex128),
        torch.zeros(1, dtype=torch.complex128),
    )
    assert crops.shape == (1, 8, 8, 3) and crops.min() == 255


def test_costs_of_onnx_models_are_unknown(tmp_path):
    add(tmp_path, {"out": [0.0] * 10})
    assert multiply_adds(load_classifier("tiny", "cpu")) is None
    assert re.search(r"tiny +│ emotion +│ user +│ onnx +│ +unknown │", fervid("models").output)
    make_ensemble(tmp_path / "mixed", "mixed", ["tiny", "default"])
    mixed = load_classifier(str(tmp_path / "mixed"), "cpu")
    assert multiply_adds(mixed) is None
    metrics = {split: {"accuracy": 0.5} for split in ("PublicTest", "PrivateTest")}
    compared = Compared(mixed.card, metrics, {}, "float32", None, {1: 10.0, 256: 100.0})
    assert [compared.as_json()[name] for name in ("parameters", "multiply_adds", "training_s")] == [None] * 3
    assert cost_table([compared]).rows[0].count("unknown") == 3


def test_reports_say_that_larger_and_color_models_see_gray_images(tmp_path, few_faces):
    constant_model(tmp_path / "color.onnx", {"out": [0.0] * 7}, size_px=64)
    card = {"classes": list(EMOTIONS), "input_size_px": 64}
    (tmp_path / "color.json").write_text(json.dumps(card))
    add_model("color", tmp_path / "color.onnx", tmp_path / "color.json")
    make_ensemble(tmp_path / "mixed", "mixed", ["color", "default"])
    says = "sees gray images of 48 px, enlarged; in videos, it sees faces in color and at a higher resolution"
    run = fervid("evaluate", "color", "--data", few_faces, "--device", "cpu", "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["notes"] == [f"color {says}"]
    models = ["default", "color", str(tmp_path / "mixed")]
    report, fewer = tmp_path / "report.md", tmp_path / "fewer.parquet"
    pq.write_table(pq.read_table(few_faces).take(list(range(0, 315, 5))), fewer)  # 3 of each emotion
    run = fervid("compare", *models, "--data", fewer, "--no-speed", "--device", "cpu", "--out", report, "--json")
    assert run.exit_code == 0, run.output
    assert [one["notes"] for one in json.loads(run.stdout)] == [[], [f"color {says}"], [f"mixed {says}"]]
    assert f"\nOn the images:\n\n- color {says}\n- mixed {says}\n\n## " in report.read_text()


def test_multiply_adds_of_an_ensemble_are_the_sum_over_its_members(tmp_path):
    make_ensemble(tmp_path / "both", "both", ["default", "fer2013"])
    members = [multiply_adds(load_classifier(name, "cpu")) for name in ("default", "fer2013")]
    assert multiply_adds(load_classifier(str(tmp_path / "both"), "cpu")) == sum(members) > 10**8


def test_an_ensemble_averages_onnx_models_and_keeps_their_further_outputs(tmp_path):
    add(tmp_path, {"out": [0, 2 * LOG2, LOG2, 0, 0, 0, 0, 0, 0.25, -0.5]})
    make_ensemble(tmp_path / "both", "both", ["tiny", "default"])
    black = np.zeros((1, 48, 48, 3), np.uint8)
    both = load_classifier(str(tmp_path / "both"), "cpu").predict_all(black)
    ours = load_classifier("default", "cpu").predict(black)
    tiny = load_classifier("tiny", "cpu").predict(black)
    np.testing.assert_allclose(both[:, :7], (ours + tiny) / 2, atol=1e-6)
    np.testing.assert_allclose(both[0, 7:], [1 / 12, 0.25, -0.5], atol=1e-6)
    add(tmp_path, {"out": [0.0] * 10}, name="boxed", framing="box")
    with pytest.raises(WeightsError, match="crop faces differently"):
        make_ensemble(tmp_path / "mixed", "mixed", ["boxed", "default"])
    assert not (tmp_path / "mixed").exists()


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ({"classes": CLASSES[:-1]}, "returns 10 values for a face, its card names 9"),
        ({"classes": ["Neutral", "Calm", *CLASSES[2:]]}, "unknown class 'Calm'. Map it with class_map"),
        ({"classes": ["Neutral", "other", *CLASSES[2:]]}, "no class for happy"),
        ({"classes": [*CLASSES[:-1], "valence"]}, "more than one output for valence"),
        ({"class_map": {"neutral": "sad"}}, "class_map has 'neutral', which is none of the classes"),
        ({"classes": [1] * 10}, "classes.0: "),
        (
            {"input_size_px": 16},
            r"its card \(3 x 16 x 16 for .*index: 2 Got: 16 Expected: 8 index: 3 Got: 16 Expected: 8",
        ),
        ({"channels": "gray"}, r"does not accept the input of its card \(1 x 8 x 8 for .* Got: 1 Expected: 3"),
        ({"layout": "nhwc"}, r"does not accept the input of its card \(8 x 8 x 3 for .* Got: 8 Expected: 3"),
        ({"mean": [0.5, 0.5]}, "mean needs 1 or 3 values"),
        ({"std": 0}, "std"),
        ({"value_range": [1, 1]}, "value_range"),
        ({"temperature": 1e-320}, "temperature: "),
        ({"scores": "probabilities", "temperature": 2.0}, "temperature applies to logits only"),
        ({"outputs": ["logits"]}, "no output 'logits'. The model has out"),
        ({"margin": 0.1}, "margin: "),
    ],
    ids=str,
)
def test_a_card_that_does_not_fit_is_refused_and_nothing_is_registered(tmp_path, home, card, reason):
    with pytest.raises(WeightsError, match=reason):
        add(tmp_path, {"out": [0.0] * 10}, **card)
    assert not (home / "tiny").exists()


EMOTION_COLUMNS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


@pytest.mark.parametrize(
    ("outputs", "further", "reason"),
    [
        ([0.9, 0.9, -0.1, -0.1, -0.2, -0.2, -0.2], [], "the lowest is -0.2"),
        ([0.2] * 7, [], "they sum to 1.4"),
        ([0.1] * 7, [], "they sum to 0.7"),
        ([0.1] * 7 + [0.2], ["contempt"], "they sum to 0.9"),
        ([0.1] * 7 + [-0.3], ["contempt"], "the lowest is -0.3"),
        ([0.1] * 7 + [0.2], ["ignore"], "they sum to 0.7"),
        ([0.2] * 7 + [-0.4], ["ignore"], "they sum to 1.4"),
        ([0.1] * 7 + [0.3, -0.3], ["valence", "arousal"], "they sum to 0.7"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused(tmp_path, home, outputs, further, reason):
    card = {"classes": EMOTION_COLUMNS + further, "scores": "probabilities"}
    with pytest.raises(
        WeightsError, match=rf"probabilities, but for a black image {reason}\. .* set scores to \"logits\""
    ):
        add(tmp_path, {"out": outputs}, **card)
    assert not (home / "tiny").exists()
    add(tmp_path, {"out": outputs}, **card | {"scores": "logits"})


@pytest.mark.parametrize("further", [[], ["contempt"], ["ignore"]])
def test_probabilities_are_not_taken_for_logits(tmp_path, home, further):
    card = {"classes": EMOTION_COLUMNS + further}
    outputs = {"out": [0.5 * i for i in range(len(card["classes"]))]}
    with pytest.raises(
        WeightsError, match=r"scores are logits, but .* probabilities .* Set scores to \"probabilities\""
    ):
        add(tmp_path, outputs, then="Softmax", **card)
    assert not (home / "tiny").exists()
    add(tmp_path, outputs, then="Softmax", scores="probabilities", **card)


@pytest.mark.parametrize("of", ["valence", "arousal"])
def test_valence_and_arousal_on_another_scale_are_refused(tmp_path, home, of):
    scales = {"valence": 1.1, "arousal": -1.1}  # a little outside of -1 to 1
    card = {"classes": [*EMOTION_COLUMNS, *scales]}
    with pytest.raises(WeightsError, match=f"{of} must be from -1 to 1, but is 5.2 for a black image"):
        add(tmp_path, {"out": [0.0] * 7 + [*(scales | {of: 5.2}).values()]}, **card)
    assert not (home / "tiny").exists()
    add(tmp_path, {"out": [0.0] * 7 + [*scales.values()]}, **card)


@pytest.mark.parametrize(
    ("outputs", "further"),
    [
        ([0.142] * 7, []),  # 0.994
        ([0.1] * 7 + [0.3], ["other"]),
        ([0.1] * 7 + [0.1, 0.2], ["contempt", "unknown"]),
        ([0.1] * 7 + [0.3], ["ignore"]),  # a further class
        ([1 / 7] * 7 + [33, -1], ["ignore", "valence"]),  # something else, such as the age
        ([0.1] * 7 + [0.3, 33, -1], ["ignore"] * 3),
    ],
)
def test_probabilities_within_a_hundredth_are_accepted(tmp_path, outputs, further):
    add(tmp_path, {"out": outputs}, classes=EMOTION_COLUMNS + further, scores="probabilities")
    known = sum(outputs[: 7 + sum(name not in ("ignore", "valence") for name in further)])
    black = np.zeros((1, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(
        load_classifier("tiny", "cpu").predict_all(black)[0, :7], np.array(outputs[:7]) / known, atol=1e-6
    )


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("Transpose", r"output 'out' has the shape \(10, \d+\) for \d+ faces"),
        ("SplitToSequence", "output 'out' is not an array of numbers"),
    ],
)
def test_outputs_without_a_row_for_each_face_are_refused(tmp_path, home, then, reason):
    with pytest.raises(WeightsError, match=reason):
        add(tmp_path, {"out": [0.0] * 10}, then=then)
    assert not (home / "tiny").exists()


@pytest.mark.parametrize(
    ("is_float16", "reason"),
    [
        (True, r"the input of the model is a tensor\(float16\)\. Export it with a float32 input"),
        (False, r"or not \d+ faces at once \(export it with a dynamic batch size\): .*Reshape"),
    ],
)
def test_another_type_of_input_and_a_hidden_batch_are_named(tmp_path, home, is_float16, reason):
    import onnx

    path = tmp_path / "model.onnx"
    constant_model(path, {"out": [0.0] * 10})
    model = onnx.load(path)
    nodes = model.graph.node
    if is_float16:
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        nodes[0].input[0] = "x32"
        nodes.insert(0, onnx.helper.make_node("Cast", ["x"], ["x32"], to=onnx.TensorProto.FLOAT))
    else:
        nodes[-1].CopyFrom(onnx.helper.make_node("Reshape", ["out_sum", "shape"], ["out"]))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 10]), "shape"))
    onnx.save(model, path)
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    with pytest.raises(WeightsError, match=reason):
        add_model("tiny", path, tmp_path / "card.json")
    assert not (home / "tiny").exists()


def test_nan_is_no_emotion(tmp_path):
    with pytest.raises(WeightsError, match="NaN or infinite values for noise"):  # sqrt(-0.5); 0 for a black image
        add(tmp_path, {"out": [0.0] * 10}, then="Sqrt", value_range=[0, -1])
    add(tmp_path, {"out": [0.0] * 10}, then="Sqrt", value_range=[0.9, -0.1])
    classifier = load_classifier("tiny", "cpu")
    crops = np.zeros((3, 8, 8), np.uint8)
    assert np.isfinite(classifier.predict(crops)).all()
    crops[1] = 255  # sqrt(-0.1)
    with pytest.raises(PredictionError, match="tiny: the model returns NaN or infinite values for a face"):
        classifier.predict(crops)


def test_nan_fails_only_its_video(tmp_path, face_clip, server):
    """The model takes the square root of 0.55 minus each channel of the crop: more than 0.55, and half as much."""
    add(tmp_path, {"out": [0.0] * 10}, then="Sqrt", value_range=[0.55, -0.45])
    (tmp_path / "videos").mkdir()
    shutil.copy(face_clip, tmp_path / "videos" / "bright.mp4")
    with av.open(str(face_clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") // 2 for frame in container.decode(video=0)]
    write_clip(tmp_path / "videos" / "dark.mp4", frames)
    out, environment = tmp_path / "out", {"PREFECT_API_URL": server}
    run = fervid("analyze", tmp_path / "videos", "--out", out, "--model", "tiny", "--device", "cpu", env=environment)
    reason = "tiny: the model returns NaN or infinite values for a face"
    assert run.exit_code == 3 and f"bright.mp4: {reason}" in run.output and "Traceback" not in run.output, run.output
    found = connect(out).sql("SELECT parse_filename(path), status, error FROM videos ORDER BY path").fetchall()
    assert found == [("bright.mp4", "failed", reason), ("dark.mp4", "done", None)]


def test_files_that_are_not_models_are_refused(tmp_path, home):
    with pytest.raises(WeightsError, match="NaN or infinite"):
        add(tmp_path, {"out": [float("nan")] * 10})
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    with pytest.raises(WeightsError, match="not a model that ONNX Runtime can load"):
        add_model("bad", tmp_path / "bad.onnx", tmp_path / "card.json")
    with pytest.raises(WeightsError, match="needs --card"):
        add_model("bad", tmp_path / "bad.onnx")
    run = fervid("models", "add", "bad", tmp_path / "missing.onnx", "--card", "missing.json")
    assert run.exit_code == 1 and "missing.json" in run.output
    assert not home.exists() or not list(home.iterdir())


@pytest.mark.parametrize("is_working_directory", [False, True])
def test_a_file_with_its_weights_in_another_file_is_refused(tmp_path, home, monkeypatch, is_working_directory):
    import onnx

    path = tmp_path / "model.onnx"
    constant_model(path, {"out": [0.0] * 10})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    assert (tmp_path / "model.onnx.data").stat().st_size >= 4 * (3 * 10 + 10)  # float32 weights and biases
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    if is_working_directory:
        monkeypatch.chdir(tmp_path)
    with pytest.raises(
        WeightsError, match=r"model\.onnx: its weights are in another file\. Export it with its weights"
    ):
        add_model("outside", path, tmp_path / "card.json")
    assert not (home / "outside").exists()


def test_another_model_of_the_same_name_and_a_damaged_one_are_refused(tmp_path):
    folder = add(tmp_path, {"out": [0.0] * 10})
    assert add(tmp_path, {"out": [0.0] * 10}) == folder
    with pytest.raises(WeightsError, match="another model has this name"):
        add(tmp_path, {"out": [1.0] * 10})
    with pytest.raises(WeightsError, match=r"another card.* first run: fervid models remove tiny"):
        add(tmp_path, {"out": [0.0] * 10}, temperature=2.0)
    assert load_classifier("tiny", "cpu").card.temperature == 1.0
    (folder.parent / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(WeightsError, match="run: an unfinished training is in "):
        add_model("run", folder)
    assert add_model("copy", folder).name == "copy"
    assert load_classifier("copy", "cpu").card.sha256 == load_classifier("tiny", "cpu").card.sha256
    assert not isinstance(check_models()["tiny"], WeightsError)
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert isinstance(check_models()["tiny"], WeightsError)
    with pytest.raises(WeightsError, match="sha256"):
        load_classifier("tiny", "cpu")
