"""A gigabyte of data on disk, two workers: by how much the memory of all processes grows."""

from __future__ import annotations

from quantities import Goal, QuantityCase

CASE = QuantityCase(
    name="large-data",
    title="Data on disk, shared by workers",
    what=(
        "Banzhaf values (p = 0.07) of 1,000 groups of {rows:,} rows of {features} float32 in a "
        "memory-mapped file, {n} coalitions of at most a tenth of the rows, `GaussianNB`, two "
        "processes of loky. Growth: the most that the proportional set sizes (PSS) of all "
        "processes are together during the run, beyond what they were before it; the workers have "
        "run with a small file before. Pages of the file count once, however many processes have "
        "them mapped. Copies: the part of it that is no page of a file."
    ),
    module="large_data",
    goals=[
        Goal("data", "MB"),
        Goal("growth", "MB", at_most=1300),
        Goal("copies", "MB"),
    ],
    size={"rows": 1_000_000, "features": 256, "n": 128},
    tiny={"rows": 2_000, "features": 4, "n": 128},
    rounds=3,
)
