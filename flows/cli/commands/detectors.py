"""`fervid evaluate-detector`: accuracy and speed of face detectors."""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as RichTable

from analytics.text import counted
from flows.cli.console import Device, console, errors, fatal_errors
from flows.training.markdown import table_lines, write_part

if TYPE_CHECKING:
    from fer_models.detection import FaceDetector
    from fer_models.evaluation.detector_metrics import Detect
    from fer_models.evaluation.tables import Table

MarkdownFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE.md", help="Also write the tables as a section of this file."),
]


class Reference(StrEnum):
    """A third-party detector to compare with."""

    yunet = "yunet"
    retinaface_mobilenet025 = "retinaface_mobilenet025"
    centerface = "centerface"


def evaluate_detector(
    data: Annotated[Path, typer.Option(help="Photographs with labeled faces, as Parquet.")],
    model: Annotated[str, typer.Option(help="A detector, by name or folder.")] = "compact",
    against: Annotated[list[Reference] | None, typer.Option(help="Reference detector; may be repeated.")] = None,
    references: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with the weights of the detectors to compare with.")
    ] = None,
    clips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of videos without labels; needs two references.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Duration of each speed measurement; 0: none.")] = 3.0,
    device: Annotated[Device, typer.Option(help="Device of the detector; references run on the CPU.")] = Device.auto,
    out: MarkdownFile = None,
) -> None:
    """Measure accuracy and speed of a face detector."""
    names = [str(reference) for reference in dict.fromkeys(against or [])]
    if names and references is None:
        raise typer.BadParameter("--against needs --references, the folder of their weights")
    if clips is not None and len(names) < 2:
        raise typer.BadParameter("--clips needs two references, such as --against yunet --against centerface")
    check_is_markdown(out)
    with fatal_errors():
        chosen = Comparison(data, model, names, references, clips, seconds, device)
        tables = list(_measure(chosen))
        for table in tables:
            show(table)
        if out is not None:
            write_part(out, as_markdown("Face detectors compared", tables, command_line(chosen, out)))
            console.print(f"written: {out}", highlight=False, soft_wrap=True)


def check_is_markdown(out: Path | None) -> None:
    """Check that the file for the tables, if there is one, has the suffix of Markdown.

    Raises:
        typer.BadParameter: if it has another one.
    """
    if out is not None and out.suffix != ".md":
        raise typer.BadParameter(f"{out}: must end in .md", param_hint="--out")


@dataclass(frozen=True)
class Comparison:
    """The detectors and data that `fervid evaluate-detector` compares."""

    data: Path
    model: str
    against: list[str]  # names of references
    references: Path | None  # the folder of their weights
    clips: Path | None
    seconds: float  # duration of each speed measurement
    device: Device


def _measure(chosen: Comparison) -> "list[Table]":
    from fer_models.detection import load_detector
    from fer_models.evaluation.clips import find_clips
    from fer_models.evaluation.detector_comparison import clip_table, landmark_table, photograph_table, speed_table
    from fer_models.evaluation.detector_metrics import Candidate, evaluate_detector, read_true_photos
    from fer_models.evaluation.references import REFERENCE_THRESHOLD, WEAK_SCORE, load_reference

    model, names, folder = chosen.model, chosen.against, chosen.references or Path()
    paths = find_clips(chosen.clips) if chosen.clips else []
    detector = load_detector(model, device=chosen.device)
    candidates = {model: Candidate(detector.detect, detector.score_threshold)}
    candidates |= {name: Candidate(load_reference(name, folder), REFERENCE_THRESHOLD) for name in names}
    photos = read_true_photos(chosen.data)
    timed = _in_each_precision(model, detector) | {name: candidates[name].detect for name in names}
    speed = []
    if chosen.seconds:
        errors.print("measuring speed: other programs should be idle")
        speed = [speed_table(timed, photos, seconds=chosen.seconds)]

    errors.print(f"evaluating on {counted(len(photos), 'photograph')}")
    detector.score_threshold = WEAK_SCORE
    evaluations = {name: evaluate_detector(candidate.detect, photos) for name, candidate in candidates.items()}
    thresholds = {name: candidate.threshold for name, candidate in candidates.items()}
    tables = [photograph_table(evaluations, thresholds, level_with=names[0] if names else None)]
    if names:
        detects = {name: candidate.detect for name, candidate in candidates.items()}
        tables.append(landmark_table(photos, detects, evaluations, names, threshold=REFERENCE_THRESHOLD))
    if paths:
        errors.print(f"evaluating on {counted(len(paths), 'video')}")
        tables.append(clip_table(paths, candidates, (names[0], names[1])))
    return tables + speed


def _in_each_precision(model: str, detector: "FaceDetector") -> "dict[str, Detect]":
    """Return the detector; if it is a compact one that does not compute in float32, also in float32."""
    import torch

    from fer_models.detection.compact import CompactDetector
    from fer_models.registry.model_registry import find_model

    if not isinstance(detector, CompactDetector) or detector.precision == "float32":
        return {model: detector.detect}
    exact = CompactDetector.load(find_model(model, "detector"), device=detector.device, dtype=torch.float32)
    return {f"{model}, {detector.precision}": detector.detect, f"{model}, float32": exact.detect}


def show(table: "Table") -> None:
    """Print a table."""
    rich = RichTable(*table.columns, title=table.title, caption=table.note, title_justify="left")
    for row in table.rows:
        rich.add_row(*row)
    console.print(rich)


def as_markdown(heading: str, tables: "list[Table]", command: str) -> str:
    """Format the tables as a section of a Markdown file, with the command that creates it."""
    lines = [f"# {heading}", "", "Created by", "", f"    {command}", ""]
    for table in tables:
        lines += table_lines(table)
    return "\n".join(lines)


def command_line(chosen: Comparison, out: Path) -> str:
    """Format the command that was run."""
    words = ["fervid", "evaluate-detector", "--data", str(chosen.data), "--model", chosen.model]
    words += [word for name in chosen.against for word in ("--against", name)]
    words += ["--references", str(chosen.references)] if chosen.references else []
    words += ["--clips", str(chosen.clips)] if chosen.clips else []
    words += ["--device", chosen.device] if chosen.device != Device.auto else []
    return shlex.join([*words, "--seconds", f"{chosen.seconds:g}", "--out", str(out)])
