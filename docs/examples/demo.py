"""The main job on real data: plant wrong labels, value every row, see how many come out lowest.

Run with `make demo`. It writes the folder demo-report in the current directory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

FOLDER = Path("demo-report")
SEED = 7
SHARE_FLIPPED = 0.1
SHARE_EXAMINED = 0.2
LEAST_RECALL = 0.8


def dvl(*arguments: str) -> None:
    """Run the command line, as a user would."""
    script = Path(sys.executable).with_name("dvl")
    subprocess.run([str(script), *arguments], check=True)


def main() -> int:
    """Plant, value, count."""
    frame = load_breast_cancer(as_frame=True).frame
    rng = np.random.default_rng(SEED)
    flipped = rng.choice(len(frame), round(SHARE_FLIPPED * len(frame)), replace=False)
    frame.loc[flipped, "target"] = 1 - frame.loc[flipped, "target"]
    FOLDER.mkdir(exist_ok=True)
    table = FOLDER / "breast-cancer-with-flips.csv"
    frame.to_csv(table, index=False)

    arguments = ["--target", "target", "--seed", str(SEED), "--out", str(FOLDER), "--overwrite"]
    dvl("value", str(table), *arguments)

    values = pd.read_csv(FOLDER / "values.csv")
    examined = round(SHARE_EXAMINED * len(values))
    planted = values["index"].isin(flipped)
    found = int(planted[:examined].sum())
    recall = found / planted.sum()

    content = json.loads((FOLDER / "report.json").read_text())
    content["known_bad"] = {"planted": int(planted.sum()), "found": found, "examined": examined}
    (FOLDER / "report.json").write_text(json.dumps(content))
    dvl("report", str(FOLDER))

    total = int(planted.sum())
    print(f"\n{found} of {total} flipped labels ({recall:.0%}) are among the lowest {examined}")
    print(f"report: {(FOLDER / 'report.html').resolve()}")
    return 0 if recall >= LEAST_RECALL else 1


if __name__ == "__main__":
    sys.exit(main())
