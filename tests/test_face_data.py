"""Reading data sets in several formats, and finding their defects before training."""

import dataclasses
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import unreadable
from PIL import Image

from fer_models import EMOTIONS
from fer_models.datasets.labeled_faces import SPLITS, DataError, class_weights, majority_of
from fer_models.datasets.near_duplicates import altered_copies, near_copies
from fer_models.datasets.preparation import DROPPABLE, drop, examine
from fer_models.datasets.reading import read_data
from flows.training.comparison import evaluate_model

pytestmark = pytest.mark.slow

USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}


@pytest.fixture(scope="module")
def fer2013(shared_data):
    return read_data(shared_data / "fer2013" / "fer2013.parquet")


@pytest.fixture(scope="module")
def few(shared_data):
    """The first 24 images of each emotion from each split of FER-2013: (pixels, label, usage)."""
    table = pq.read_table(shared_data / "fer2013" / "fer2013.parquet")
    usage, label = np.asarray(table["usage"].to_pylist()), table["label"].to_numpy()
    rows = np.sort(np.concatenate([np.flatnonzero((usage == s) & (label == i))[:24] for s in SPLITS for i in range(7)]))
    pixels = np.stack([decoded(png.as_py()) for png in table.take(rows)["image"]])
    return pixels, label[rows], usage[rows]


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def png_of(pixels):
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def eps():
    with io.BytesIO() as file:
        Image.new("L", (48, 48)).save(file, "EPS")
        return file.getvalue()


def png_header(width, height):
    """The first chunk of a PNG file without its pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + bytes(4)
        + b"IDAT"
        + bytes(4)
    )


def write_csv(path, pixels, label, usage, header="emotion,pixels,Usage"):
    rows = [f"{i},{' '.join(map(str, p.flatten().tolist()))},{u}" for p, i, u in zip(pixels, label, usage, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_folders(path, pixels, label, usage, names=EMOTIONS, splits=USAGE):
    for row, (image, i, split) in enumerate(zip(pixels, label, usage, strict=True)):
        folder = path / splits[split] / names[i]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{row:05}.png")
    return path


def test_fer2013_has_its_published_splits_and_labels(fer2013):
    assert {name: len(images) for name, images in fer2013.splits.items()} == {
        "Training": 28709,
        "PublicTest": 3589,
        "PrivateTest": 3589,
    }
    training = fer2013.splits["Training"]
    assert training.pixels.shape == (28709, 48, 48)
    np.testing.assert_allclose(training.votes.sum(dim=1), 1, atol=1e-5)
    assert fer2013.class_map == dict(zip("0123456", EMOTIONS, strict=True))
    assert fer2013.notes == ()


def test_csv_folders_and_parquet_give_the_same_data(few, fer2013, tmp_path):
    pixels, label, usage = few
    csv = read_data(write_csv(tmp_path / "fer2013.csv", pixels, label, usage))
    folders = read_data(write_folders(tmp_path / "folders", pixels, label, usage))
    assert csv.class_map["3"] == "happy"
    assert folders.class_map == {emotion: emotion for emotion in EMOTIONS}
    assert csv.notes == folders.notes == ()
    for name in SPLITS:
        from_csv, from_folders = csv.splits[name], folders.splits[name]
        rows = torch.from_numpy(np.flatnonzero(usage == name))
        assert torch.equal(from_csv.pixels, torch.from_numpy(pixels)[rows])
        assert torch.equal(from_csv.label, torch.from_numpy(label)[rows])
        assert sorted(map(bytes, from_folders.pixels.numpy())) == sorted(map(bytes, from_csv.pixels.numpy()))
        assert torch.equal(from_folders.label.bincount(), from_csv.label.bincount())
        assert from_csv.votes is None
        assert (from_csv.majority == -1).all()


def test_a_csv_that_cannot_be_used_is_refused(few, tmp_path):
    pixels, label, usage = few
    path = tmp_path / "fer.csv"
    for change, says in (
        ({"header": "label,pixels,Usage"}, "columns missing: emotion"),
        ({"label": np.where(label == 2, 7, label)}, "unknown class 7. FER-2013 has 0 angry"),
        (
            {"usage": np.where(usage == "PublicTest", "Public", usage)},
            "unknown usage 'Public'. It must be one of Training",
        ),
        ({"pixels": pixels[:, :, :47]}, "row 1: pixels must be 2304 numbers"),
        ({"pixels": pixels.astype(int) * 2}, "whole numbers from 0 to 255"),
        ({"pixels": pixels / 2}, "row 1: "),
        ({"label": np.where(label == 1, 0, label)}, "no image of: disgust"),
    ):
        given = {"pixels": pixels, "label": label, "usage": usage} | change
        with pytest.raises(DataError, match=says):
            read_data(write_csv(path, **given))
    texts = [["7"] * 48 * 48 for _ in range(7)]
    for row, wrong in ((2, ["4294967300", *texts[0][1:]]), (3, texts[0][1:]), (5, [*texts[0], "7"])):
        rows = [f"{i},{' '.join(wrong if i == row - 1 else text)}" for i, text in enumerate(texts)]
        path.write_bytes("\n".join(["emotion,pixels", *rows]).encode())
        with pytest.raises(DataError, match=f"row {row}: pixels must be 2304"):
            read_data(path)
    for text, says in (
        ("emotion,pixels\n0,\xe9\n", "pixels are not text"),
        ("emotion,Emotion,pixels\n0,0,1\n", "more than one column emotion"),
        ("\xe9motion,pixels\n0,1\n", "not a readable CSV file"),
        ("emotion,pixels,Usage\n", "no rows"),
    ):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=says):
            read_data(path)
    with pytest.raises(DataError, match=r"none\.csv: no such file or folder"):
        read_data(tmp_path / "none.csv")


def test_a_parquet_file_that_cannot_be_used_is_refused(tmp_path, shared_data):
    path = tmp_path / "fer.parquet"
    path.write_text("emotion,pixels")
    with pytest.raises(DataError, match="not a readable Parquet"):
        read_data(path)
    table = pq.read_table(shared_data / "fer2013" / "fer2013.parquet").slice(0, 300)
    pq.write_table(table.drop_columns(["votes_fear"]), path)
    with pytest.raises(DataError, match="votes_fear"):
        read_data(path)
    broken = table.set_column(0, "image", [[b"not an image"] * len(table)])
    pq.write_table(broken, path)
    with pytest.raises(DataError, match="row 1: not a usable image: it cannot be read as an image"):
        read_data(path)

    n, row = len(table), table.column_names.index
    for name, values, says in (
        ("image", [{"bytes": b""}] * n, "row 1: not a usable image"),
        ("image", [eps()] * n, "row 1: not a usable image: it cannot be read as an image"),
        (
            "image",
            [png_of(np.zeros((4, 4), np.uint8))] * 2 + [png_of(np.zeros((5, 4), np.uint8))] * (n - 2),
            "row 3: the image has 4x5 px, that of row 1 4x4",
        ),
        ("image", [png_of(np.full((4, 4), 40_000, np.uint16))] * n, "row 1: .* more than 8 bits per pixel"),
        ("image", [png_header(20_000, 20_000)] * n, "row 1: .* exceeds"),
        ("label", [[1]] * n, r"unknown class \[1\]"),
        ("votes_fear", [None] + [1] * (n - 1), "votes must be 0 or more"),
        ("votes_fear", [-1] * n, "votes must be 0 or more"),
        ("votes_fear", ["many"] * n, "votes are not numbers"),
        ("pixel_exact", ["yes"] * n, "pixel_exact must be true or false"),
    ):
        pq.write_table(table.set_column(row(name), name, pa.array(values)), path)
        with pytest.raises(DataError, match=says):
            read_data(path)


def test_a_parquet_file_needs_no_votes(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (21, 48, 48), np.uint8)
    columns = {"image": list(map(png_of, images)), "label": list(range(7)) * 3, "usage": np.repeat(SPLITS, 7)}
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table(columns), path)
    splits = read_data(path).splits
    assert [images.label.tolist() for images in splits.values()] == [list(range(7))] * 3
    assert (splits["PrivateTest"].pixels.numpy() == images[14:]).all()
    assert splits["Training"].votes is None
    assert splits["Training"].majority.tolist() == [-1] * 7
    answers = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt", "unknown", "nf")
    votes = {f"votes_{answer}": [0.25 * (answer in ("fear", "sadness"))] * 21 for answer in answers}
    pq.write_table(pa.table(columns | votes | {"pixel_exact": [True] * 21}), path)
    assert read_data(path).splits["Training"].votes.tolist() == [[0, 0, 0.5, 0, 0.5, 0, 0]] * 7
    pq.write_table(pa.table(columns | {"votes_fear": [1] * 21}), path)
    with pytest.raises(DataError, match=r"columns missing: votes_anger, votes_disgust, votes_happiness.*, pixel_exact"):
        read_data(path)


def test_color_images_in_a_parquet_file_are_counted(tmp_path):
    images = list(np.random.default_rng(0).integers(0, 256, (21, 48, 48), np.uint8))
    images[3] = np.full((48, 48, 3), (255, 0, 0), np.uint8)
    columns = {"image": list(map(png_of, images)), "label": list(range(7)) * 3, "usage": np.repeat(SPLITS, 7)}
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table(columns), path)
    data = read_data(path)
    assert (data.splits["Training"].pixels[3] == 76).all()  # the luma of pure red
    assert data.notes == ("converted from color to gray: 1 of 21 images",)
    columns["image"] = [png_of(image[:40]) for image in images]
    pq.write_table(pa.table(columns), path)
    assert read_data(path).notes == ("stretched to a square: 21 of 21 images", *data.notes)


def test_synonyms_of_the_emotions_are_recognized(few, tmp_path):
    names = ("Anger", "disgusted", "Scared", "HAPPINESS", "sadness", "surprised", "neutral")
    splits = {"Training": "Train", "PublicTest": "valid", "PrivateTest": "PrivateTest"}
    data = read_data(write_folders(tmp_path, *few, names=names, splits=splits))
    assert data.class_map == dict(zip(names, EMOTIONS, strict=True))
    assert [len(images) for images in data.splits.values()] == [168, 168, 168]


def test_folders_that_cannot_be_used_are_refused(few, tmp_path):
    with pytest.raises(DataError, match="a folder per class, such as train/angry"):
        read_data(tmp_path)
    root = write_folders(tmp_path / "faces", *few)
    contempt = root / "train" / "contempt"
    contempt.mkdir()
    with pytest.raises(DataError, match=r"contempt: its name is not one of the emotions angry, .* Rename it"):
        read_data(root)
    contempt.rename(root / "extra")
    with pytest.raises(DataError, match="extra: not a split"):
        read_data(root)
    (root / "extra").rmdir()
    (root / "test" / "fear" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"broken\.jpg: not a readable image"):
        read_data(root)
    (root / "test" / "fear" / "broken.jpg").unlink()
    sound = next((root / "test" / "fear").iterdir()).read_bytes()
    header = b"P5\n48x 48\n255\n" + bytes(48 * 48)
    for name, content in (("short.png", sound[:300]), ("header.pgm", header), ("script.png", eps())):
        (root / "test" / "fear" / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: not a readable image"):
            read_data(root)
        (root / "test" / "fear" / name).unlink()
    Image.fromarray(np.full((48, 48), 40_000, np.uint16)).save(root / "test" / "fear" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: .*more than 8 bits"):
        read_data(root)


def test_missing_splits_are_split_off_reproducibly(few, tmp_path):
    pixels, label, usage = few
    copies = np.repeat(pixels, 2, axis=0)  # a data set in which every image occurs twice
    flat = write_folders(tmp_path / "flat", copies, label.repeat(2), usage.repeat(2), splits=dict.fromkeys(SPLITS, "."))
    with_test = write_folders(tmp_path / "faces", pixels, label, usage, splits=USAGE | {"PublicTest": "train"})
    data = read_data(flat)
    assert [note.split(":")[0] for note in data.notes] == ["no PublicTest split", "no PrivateTest split"]
    assert sum(len(images) for images in data.splits.values()) == len(copies)
    assert examine(data).leaks == {"PublicTest": 0, "PrivateTest": 0}
    once, again = read_data(with_test), read_data(with_test)
    n_public = len(once.splits["PublicTest"])
    assert once.notes == (
        f"no PublicTest split: {n_public} images were split off from Training, a tenth of each class, "
        "selected by a hash of the pixels",
    )
    assert once.splits["PublicTest"].label.bincount().tolist() == [5] * 7  # a tenth of the 48 images of each emotion
    assert torch.equal(once.splits["PublicTest"].pixels, again.splits["PublicTest"].pixels)


def test_an_added_image_of_another_size_changes_no_other_split(tmp_path):
    """All images are then resized, but a tenth of the 31 images of surprise is still 3."""
    pixels = np.random.default_rng(0).integers(0, 256, (210, 40, 40), np.uint8)
    root = write_folders(tmp_path, pixels, np.repeat(range(7), 30), ["Training"] * 210, splits={"Training": "."})

    def split_of_rows():
        return {row: name for name, images in read_data(root).splits.items() for row in images.row.tolist()}

    before = split_of_rows()
    larger = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(larger).save(root / "surprise" / "last.png")  # the last path in sorted order
    after = split_of_rows()
    assert after.pop(210)
    assert sum(after[row] != before[row] for row in before) <= 2  # those that the new image displaces


def test_a_test_split_alone_can_be_evaluated_on_but_not_trained_on(few, tmp_path):
    pixels, label, usage = few
    root = write_folders(tmp_path, pixels, label, usage, splits=dict.fromkeys(SPLITS, "test"))
    with pytest.raises(DataError, match="no images to train on"):
        read_data(root)
    data = read_data(root, need_training=False)
    assert [len(images) for images in data.splits.values()] == [0, 0, len(pixels)]
    assert data.notes == ()
    assert list(evaluate_model("default", root, [], tta=False, device="cpu").figures) == ["PrivateTest"]
    with pytest.raises(DataError, match="no PublicTest split; it has PrivateTest"):
        evaluate_model("default", root, ["PublicTest"], tta=False, device="cpu")


def test_larger_and_color_images_are_resized_and_converted_to_gray(few, tmp_path):
    root = write_folders(tmp_path, *few)
    file = next((root / "train" / "happy").iterdir())
    Image.fromarray(np.full((90, 70, 3), (255, 0, 0), np.uint8)).save(file)
    data = read_data(root)
    training = data.splits["Training"]
    assert training.pixels.shape == (168, 48, 48)
    assert (training.pixels == 76).flatten(1).all(dim=1).sum() == 1  # 76 is the luma of pure red
    assert data.notes == (
        "resized to 48x48 px: 1 of 504 images, up to 70x90 px",
        "stretched to a square: 1 of 504 images",
        "converted from color to gray: 1 of 504 images",
    )
    assert read_data(root, size_px=64).splits["Training"].pixels.shape == (168, 64, 64)


def test_images_are_rotated_by_their_exif_orientation(few, tmp_path):
    root = write_folders(tmp_path, *few)
    expected = read_data(root).splits["Training"].pixels
    files = sorted((root / "train").glob("*/*"))
    for orientation, file in zip(range(2, 9), files, strict=False):
        upright = np.asarray(Image.open(file).convert("L"))
        turns = {2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.T}
        turns |= {6: lambda a: np.rot90(a), 7: lambda a: a[::-1, ::-1].T, 8: lambda a: np.rot90(a, -1)}
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(turns[orientation](upright))).save(file, "PNG", exif=exif)
    data = read_data(root)
    assert torch.equal(data.splits["Training"].pixels, expected)
    assert data.notes == ("rotated by their EXIF orientation: 7 of 504 images",)


def test_hidden_files_are_skipped(few, tmp_path):
    root = write_folders(tmp_path, *few)
    (root / "train" / "happy" / "._1.png").write_bytes(b"Mac OS X")
    (root / "train" / "happy" / ".thumbnails").mkdir()
    (root / "train" / "happy" / ".thumbnails" / "1.png").write_bytes(b"small")
    data = read_data(root)
    assert [len(images) for images in data.splits.values()] == [168, 168, 168]
    assert data.notes == ("hidden files skipped: 2",)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders are others there")
def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # another user may not read the folders above it
    tmp_path.chmod(0o755)
    for name in ("faces/happy/more", "faces/happy/.thumbnails"):
        Path(name).mkdir(parents=True)
    with (
        unreadable("faces/happy/more", "faces/happy/.thumbnails"),
        pytest.raises(DataError, match=r"^faces/happy/more: Permission denied\."),
    ):
        read_data(Path("faces"))


def test_further_pages_and_frames_are_counted(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (21, 48, 48), np.uint8)
    root = write_folders(tmp_path, pixels, np.repeat(range(7), 3), ["Training", "PublicTest", "PrivateTest"] * 7)
    first, *further = (Image.fromarray(image) for image in pixels[:5])
    first.save(root / "train" / "angry" / "scan.tif", save_all=True, append_images=further)
    first.save(root / "train" / "happy" / "moves.png", save_all=True, append_images=further[:1])
    data = read_data(root)
    assert len(data.splits["Training"]) == 9
    assert data.notes == ("pages and frames skipped: 5. Only the first of each file is read",)


def test_files_and_linked_folders_that_are_not_read_are_counted(few, tmp_path):
    root = write_folders(tmp_path / "faces", *few)
    image = next((root / "train").rglob("*.png"))
    for loose in (root / "loose.png", root / "train" / "loose.png", image.with_suffix(".gif")):
        loose.write_bytes(image.read_bytes())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(image.read_bytes())
    (image.parent / "linked").symlink_to(tmp_path / "elsewhere")
    skipped, linked = read_data(root).notes
    assert skipped.startswith(f"files skipped: 3, such as {root / 'loose.png'}. Images must be in a folder per class ")
    assert linked == f"linked folders skipped: 1, such as {image.parent / 'linked'}. Copy their images"


@pytest.mark.parametrize("n", [3, 5, 12, 40])
def test_a_small_data_set_gets_a_validation_part_with_every_class(tmp_path, n):
    pixels = np.random.default_rng(n).integers(0, 256, (7 * n, 48, 48), np.uint8)
    label = np.repeat(np.arange(7), n)
    data = read_data(write_folders(tmp_path, pixels, label, ["Training"] * len(label), splits={"Training": "."}))
    n_part = max(1, round(n / 10))
    assert data.splits["PublicTest"].label.bincount(minlength=7).tolist() == [n_part] * 7
    n_test = max(1, round((n - n_part) / 10))
    assert data.splits["PrivateTest"].label.bincount(minlength=7).tolist() == [n_test] * 7
    assert data.splits["Training"].label.bincount(minlength=7).tolist() == [n - n_part - n_test] * 7


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"Training": "."}, "divided into Training, PublicTest, PrivateTest. Each class needs at least 3 different"),
        (
            {"Training": "train", "PrivateTest": "test"},
            "divided into Training, PublicTest. Each class needs at least 2 different",
        ),
    ],
)
def test_classes_with_too_few_images_to_be_divided_are_named(tmp_path, splits, says):
    n_each = 3 if len(splits) == 1 else 2
    usage = np.repeat([name for name in splits for _ in range(7)], n_each)
    label = np.repeat(list(range(7)) * len(splits), n_each)
    pixels = np.random.default_rng(0).integers(0, 256, (len(label), 48, 48), np.uint8)
    write_folders(tmp_path, pixels, label, usage, splits=splits)
    read_data(tmp_path)  # just enough
    happy = tmp_path / splits["Training"] / "happy"
    min(happy.iterdir()).unlink()
    with pytest.raises(DataError, match=f"too few images of happy to be {says}"):
        read_data(tmp_path)
    for file in happy.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="split Training has no image of: happy"):
        read_data(tmp_path)


@pytest.mark.parametrize(
    ("header", "row", "n_training"),
    [
        ("emotion,pixels", "{number},{pixels}", 56),  # of 70 images, one of each class goes to each of two splits
        ("pixels,emotion", "{pixels},{name}", 56),
        ("Usage,pixels,emotion", "Training,{pixels},{number}", 56),
        (" Pixels , usage , Emotion", "{pixels},train,{title}", 56),
    ],
)
def test_csv_files_with_other_columns_and_names(tmp_path, header, row, n_training):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 48 * 48), np.uint8)
    lines = [
        row.format(
            number=i % 7, name=EMOTIONS[i % 7], title=EMOTIONS[i % 7].title(), pixels=" ".join(map(str, pixels[i]))
        )
        for i in range(70)
    ]
    (tmp_path / "faces.csv").write_text("\n".join([header, *lines]))
    data = read_data(tmp_path / "faces.csv")
    training = data.splits["Training"]
    assert len(training) == n_training
    assert set(data.class_map.values()) == set(EMOTIONS)
    of_row = dict(zip(training.row.tolist(), training.label.tolist(), strict=True))
    assert all(label == row % 7 for row, label in of_row.items())
    assert (training.pixels.flatten(1).numpy() == pixels[training.row.numpy()]).all()


def test_a_csv_file_with_an_unknown_emotion_is_refused(tmp_path):
    (tmp_path / "faces.csv").write_text("emotion,pixels\ncontempt," + " ".join(["0"] * 48 * 48) + "\n")
    with pytest.raises(DataError, match=r"unknown class 'contempt'\. The emotions are angry, disgust"):
        read_data(tmp_path / "faces.csv")


def test_the_majority_is_an_emotion_without_a_tie():
    answers = np.zeros((4, 10))
    answers[0, 3], answers[1, [0, 4]], answers[2, 7] = 6, 5, 9
    assert majority_of(answers).tolist() == [3, -1, -1, -1]


def test_class_weights_balance_the_emotions(fer2013):
    label = fer2013.splits["Training"].label
    weight = class_weights(label)
    np.testing.assert_allclose(label.bincount() * weight, len(label) / 7, rtol=1e-5)


def test_the_known_defects_of_fer2013_are_found(fer2013):
    found = examine(fer2013)
    assert sum(found.copies.values()) == 1851
    assert found.copy_groups == 1514
    assert found.leaks == {"PublicTest": 280, "PrivateTest": 288}
    assert found.conflict_groups == 57
    assert sum(found.blanks.values()) == 13
    assert found.images["Training"]["disgust"] == 436
    assert drop(fer2013, found, []) is fer2013
    assert len(drop(fer2013, found, ["blanks"]).splits["Training"]) == 28709 - found.blanks["Training"]
    with pytest.raises(ValueError, match="drop must be among leaks"):
        drop(fer2013, found, ["leak"])
    assert 350 < found.near_leaks["PrivateTest"] < 420
    better = drop(fer2013, found, DROPPABLE)
    again = examine(better)
    assert again.leaks == again.near_leaks == {"PublicTest": 0, "PrivateTest": 0}
    assert (again.copies["Training"], again.blanks["Training"]) == (0, 0)
    assert all(len(rows) == 0 for rows in again.rows.values())
    training = fer2013.splits["Training"]
    blank = found.rows | {"blanks": training.row[training.label == 1]}
    with pytest.raises(DataError, match="without blanks, Training has no image of an emotion"):
        drop(fer2013, dataclasses.replace(found, rows=blank), ["blanks"])
    assert len(better.splits["PrivateTest"]) == 3589
    assert better.notes[-1].endswith(" of 28709 images (leaks, near_leaks, copies, conflicts, blanks)")


def test_the_copies_that_are_reported_are_dropped(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (43, 48, 48), np.uint8)
    pixels[42] = pixels[18]  # a happy face of Training
    label = np.append(np.repeat(range(7), 6), EMOTIONS.index("happy"))
    usage = ["Training", "Training", "PublicTest", "PublicTest", "PrivateTest", "PrivateTest"] * 7 + ["Training"]
    data = read_data(write_folders(tmp_path, pixels, label, usage))
    found = examine(data)
    assert found.copies == {"Training": 1, "PublicTest": 0, "PrivateTest": 0}
    dropped = drop(data, found, ["copies"])
    assert len(dropped.splits["Training"]) == 14
    assert (dropped.splits["Training"].pixels == torch.from_numpy(pixels[18])).all(dim=(1, 2)).sum() == 1


def test_copies_do_not_depend_on_the_format(tmp_path):
    """The image of a test split that is also in Training is the copy, whichever of them is read first."""
    pixels = np.random.default_rng(0).integers(0, 256, (42, 48, 48), np.uint8)
    pixels[22] = pixels[18]  # happy, in PrivateTest and in Training
    label, usage = np.repeat(range(7), 6), np.array([split for split in SPLITS for _ in range(2)] * 7)
    paths = [write_folders(tmp_path / "folders", pixels, label, usage)]
    for order in ("forward", "backward"):
        rows = slice(None, None, 1 if order == "forward" else -1)
        paths.append(write_csv(tmp_path / f"{order}.csv", pixels[rows], label[rows], usage[rows]))
    for data in map(read_data, paths):
        found = examine(data)
        assert found.copies == {"Training": 0, "PublicTest": 0, "PrivateTest": 1}
        assert found.leaks["PrivateTest"] == 1
        assert len(drop(data, found, ["copies"]).splits["Training"]) == 14


def test_changed_copies_of_a_photograph_are_near_duplicates_and_other_faces_are_not(few):
    pixels = torch.from_numpy(few[0][:40])
    brighter = (pixels.float() * 0.8 + 40).round().to(torch.uint8)
    shifted = pixels.roll(1, dims=2)
    lettered = pixels.clone()
    lettered[:, 42:45, 4:24] = 200
    for changed, known in ((brighter, 38), (shifted, 25), (lettered, 12)):
        pairs = near_copies(torch.cat([pixels, changed]))
        again = {tuple(pair) for pair in pairs.tolist()} & {(i, i + 40) for i in range(40)}
        assert len(again) >= known
    assert len(near_copies(pixels)) == 0
    assert near_copies(pixels[:0]).shape == (0, 2)


def test_a_photograph_is_recognized_mirrored_or_shifted(few):
    pixels = torch.from_numpy(few[0][:40])
    copies = {"mirrored": pixels.flip(-1)} | {
        f"{px} px along {axis}": pixels.roll(px, dims=axis) for px in (2, -3, 4, -5) for axis in (1, 2)
    }
    for name, changed in copies.items():
        found = altered_copies(pixels, changed).tolist()
        assert sum(i == j for i, j in found) >= 24, name
        assert all(i == j for i, j in found), name
    assert altered_copies(pixels[:0], pixels).shape == (0, 2)
