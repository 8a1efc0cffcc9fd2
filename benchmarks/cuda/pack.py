"""Pack what the CUDA kit needs on a GPU machine without a network, into a folder that git ignores.

    python -m benchmarks.cuda.pack --data fer2013.parquet --video street.mp4

Writes to `runs/cuda`: `faces.npz` (Training and PublicTest), the video at three sizes, and `site.tar.xz`, the Python
packages that the machine lacks. Fails if they, together with the repository's files, exceed `--limit-mib`.
"""

import argparse
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av

from benchmarks.cuda.packed_faces import CRF, SPLITS, pack_faces, psnr_db, unpack_faces
from fer_models.datasets.reading import read_data

ROOT = Path(__file__).parents[2]
FACES, SITE = "faces.npz", "site.tar.xz"
HEIGHTS_PX = (360, 720, 1080)
# The last three packages are imported by the downloader of `retina-face`, which its network imports.
PACKAGES = ("av>=17,<19", "retina-face>=0.0.19", "gdown", "beautifulsoup4", "soupsieve")
# Packages for finding models and reading their cards, in the installed versions: pydantic works with only one version
# of its core.
CARD_PACKAGES = (
    "annotated-types",
    "platformdirs",
    "pydantic",
    "pydantic-core",
    "typing-extensions",
    "typing-inspection",
)
TAR_BLOCK_BYTES = 512
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def pack_packages(path: Path, python_version: str) -> None:
    """Install the packages that the GPU machine lacks, for its version of Python, into one compressed archive.

    Debug symbols are removed: 29 MB of PyAV, whose wheel has 36 MB. The archive then has 20 MB.
    """
    with tempfile.TemporaryDirectory() as site:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", site, "--no-deps", "--no-compile"]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python_version]
        for platform in PLATFORMS:
            command += ["--platform", platform]
        installed = [f"{name}=={importlib.metadata.version(name)}" for name in CARD_PACKAGES]
        subprocess.run([*command, *PACKAGES, *installed], check=True)
        if strip := shutil.which("strip"):
            modules = [str(module) for module in Path(site).rglob("*.so")]
            subprocess.run([strip, "--strip-unneeded", *modules], check=True)
        shutil.make_archive(str(path).removesuffix(".tar.xz"), "xztar", site)


def resize_video(source: Path, path: Path, height_px: int) -> None:
    """Write a video at another height as H.264, its frames and their times unchanged."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        read = given.streams.video[0]
        width_px = round(read.width * height_px / read.height / 2) * 2
        written = made.add_stream("libx264", rate=read.average_rate)
        written.width, written.height, written.pix_fmt = width_px, height_px, "yuv420p"
        written.time_base = read.time_base
        written.options = {"crf": "23", "preset": "medium"}
        for frame in given.decode(read):
            made.mux(written.encode(frame.reformat(width_px, height_px, "yuv420p")))
        made.mux(written.encode())


def package_bytes(out: Path) -> int:
    """Bytes sent to the other machine as a tar archive: the packed files, and those that git does not ignore."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [ROOT / name for name in names if name] + [path for path in out.rglob("*") if path.is_file()]
    blocks = (1 + -(-path.stat().st_size // TAR_BLOCK_BYTES) for path in files if path.is_file())  # with a header each
    return sum(blocks) * TAR_BLOCK_BYTES


def main(arguments: list[str] | None = None) -> None:
    """Pack, and print the size of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER-2013, as `fervid train` reads it")
    parser.add_argument("--video", type=Path, required=True, help="a video with faces, 1080 pixels high or more")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "cuda")
    parser.add_argument("--crf", type=int, default=CRF, help="quality of the faces: smaller is better and larger")
    parser.add_argument("--python-version", default="3.12", help="of the other machine")
    parser.add_argument("--without-packages", action="store_true", help="leave out the Python packages")
    parser.add_argument("--limit-mib", type=int, default=64, help="most that can travel, repository included")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    splits = read_data(given.data).splits
    pack_faces(splits, given.out / FACES, given.crf)
    packed = unpack_faces(given.out / FACES)
    for split in SPLITS:
        quality_db = psnr_db(splits[split].pixels.numpy(), packed[split].pixels.numpy())
        print(f"{split}: {len(packed[split])} faces, {quality_db:.1f} dB")
    for height_px in HEIGHTS_PX:
        resize_video(given.video, given.out / f"{height_px}p.mp4", height_px)
    if not given.without_packages:
        pack_packages(given.out / SITE, given.python_version)
    for path in sorted(given.out.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB")
    total_mib = package_bytes(given.out) / 2**20
    print(f"with the repository: {total_mib:.1f} MiB of {given.limit_mib}")
    if total_mib > given.limit_mib:
        sys.exit("too much to travel: raise --crf, or give a shorter video")


if __name__ == "__main__":
    main()
