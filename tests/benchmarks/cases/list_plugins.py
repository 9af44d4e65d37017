"""How long a user waits for the list of what is installed."""

from __future__ import annotations

from measure import Case, Command
from results import Target

BARE = "import numpy, click, importlib.metadata"

CASE = Case(
    name="list-plugins",
    title="`dvl list-plugins`",
    what=(
        "Wall time of the whole command `dvl list-plugins`, start of Python included, output to a "
        f'pipe. Floor: `python -c "{BARE}"`. Both in the same environment, all plugins installed.'
    ),
    sides=(
        Command("floor", "python", ("-c", BARE), 21),
        Command("dvl", "dvl", ("list-plugins",), 21),
    ),
    targets=(Target("dvl", "floor", at_most=2),),
)
