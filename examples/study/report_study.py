"""The sentence for a paper, from the tables of the example study.

python examples/study/report_study.py FOLDER
"""

import csv
import sys
from pathlib import Path

from analytics import connect


def report_study(folder: Path) -> str:
    """A sentence with the difference in smiling, its interval with the method, or the reason why there is none."""
    with (folder / "compare.csv").open(encoding="utf-8") as file:
        happy = next(row for row in csv.DictReader(file) if row["emotion"] == "happy")
    interval = happy["note"]
    if happy["low"]:
        interval = f"95 % CI {float(happy['low']):.2f} to {float(happy['high']):.2f}; {happy['method']}"
    with connect(folder / "results") as connection:
        ((n_faces, good),) = connection.sql("SELECT count(*), avg(quality_ok::INT) FROM faces").fetchall()
    return (
        f"Participants (n = {happy['n_participants_a']}) were labeled happy for {100 * float(happy['mean_a']):.0f} % "
        f"of the time in the condition {happy['group_a']} and {100 * float(happy['mean_b']):.0f} % in the condition "
        f"{happy['group_b']}, a difference of {100 * float(happy['estimate']):.0f} percentage points ({interval}). "
        f"Of {n_faces} faces, {100 * good:.0f} % were of sufficient quality."
    )


if __name__ == "__main__":
    print(report_study(Path(sys.argv[1])))
