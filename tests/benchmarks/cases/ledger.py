"""Records a second of the stores, put and looked up in batches."""

from __future__ import annotations

from quantities import Goal, QuantityCase

UNIT = "records a second"

CASE = QuantityCase(
    name="ledger",
    title="Records of utilities, put and looked up",
    what=(
        "Records that are put into an empty store and then all looked up, over the seconds of "
        "both, in batches of {batch:,} with random keys; what comes back is compared. "
        "{memory:,} records in memory, {disk:,} on disk, {memcached:,} in a memcached on the "
        "loopback interface of this machine."
    ),
    module="ledger",
    goals=[
        Goal("memory", UNIT, at_least=1_000_000),
        Goal("disk", UNIT, at_least=200_000),
        Goal("memcached", UNIT, at_least=50_000),
    ],
    size={"batch": 10_000, "memory": 1_000_000, "disk": 500_000, "memcached": 200_000},
    tiny={"batch": 100, "memory": 1_000, "disk": 1_000, "memcached": 300},
    rounds=5,
)
