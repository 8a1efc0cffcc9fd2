"""Make the material of the example study: six clips, the stimuli, the groups and one human coder's file.

    python examples/study/make_study.py FOLDER

Three participants watch a film in two conditions, "funny" and "plain". The clips are made from the demo photographs:
Grace Hopper's portrait stands for a participant's neutral face, Eileen Collins's for the same participant smiling. When
the smile begins and ends is therefore known, and so is what the analysis ought to find.
"""

import csv
import sys
from pathlib import Path

from flows.cli.demo import Clip, Keyframe, paint_wall, write_clip

FPS = 10  # run.sh analyzes as many frames per second
DURATION_S = 8.0
STIMULUS_S = (2.0, 6.0)  # the film runs during these seconds of each clip
# When each participant smiles, in seconds.
SMILES_S = {
    ("p1", "funny"): (2.4, 5.6),
    ("p2", "funny"): (2.8, 6.4),
    ("p3", "funny"): (2.0, 5.2),
    ("p1", "plain"): (3.0, 3.8),
    ("p2", "plain"): (4.0, 5.2),
    ("p3", "plain"): (3.6, 4.0),
}
CODER_STEP_S = 0.2  # the coder marks onsets and offsets to the next fifth of a second


def make_study(folder: Path) -> None:
    """Write clips/, stimuli.csv, groups.csv, coder.csv and codes.csv (what the codes mean) into a folder."""
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    wall = paint_wall()
    stimuli, groups, codes = [], [], []
    for (participant, condition), (onset_s, offset_s) in SMILES_S.items():
        name = f"{participant}_{condition}.mp4"
        write_clip(Clip(name, FPS, shots(onset_s, offset_s)), wall, clips / name)
        stimuli.append([name, f"{condition} film", *STIMULUS_S])
        groups.append([name, condition, participant])
        late_s = CODER_STEP_S / 2  # a person reacts after the change
        codes += [
            [name, "P0", "neutral", 0.0, onset_s + late_s],
            [name, "P1", "smile", onset_s + late_s, offset_s + late_s],
            [name, "P0", "neutral", offset_s + late_s, DURATION_S],
        ]
    write_csv(folder / "stimuli.csv", ["video", "label", "start_s", "end_s"], stimuli)
    write_csv(folder / "groups.csv", ["path", "group", "participant"], groups)
    write_csv(folder / "coder.csv", ["video", "person", "code", "start_s", "end_s"], codes)
    write_csv(folder / "codes.csv", ["code", "emotion"], [["smile", "happy"], ["neutral", "neutral"]])


def shots(onset_s: float, offset_s: float) -> tuple[tuple[Keyframe, ...], ...]:
    """Neutral until the onset, smiling until the offset, then neutral again; the camera moves slightly."""
    neutral_before = (Keyframe(0, 1292, 386, 700, -0.4), Keyframe(onset_s, 1298, 379, 640, 0.3))
    smiling = (Keyframe(0, 1884, 342, 520, 0.5), Keyframe(offset_s - onset_s, 1862, 331, 450, -0.5))
    neutral_after = (Keyframe(0, 1298, 379, 640, 0.3), Keyframe(DURATION_S - offset_s, 1292, 386, 690, -0.2))
    return neutral_before, smiling, neutral_after


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    """Write a CSV file with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    make_study(Path(sys.argv[1]))
