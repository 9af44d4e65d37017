"""Whatever happens to a server, a store finds what it must, and nothing else."""

from __future__ import annotations

import secrets
import warnings

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dvl_core.errors import DvlWarning
from dvl_memcached.records import names_of, packed

NUMBERS = np.arange(20)
KEYS = np.stack([NUMBERS, NUMBERS * 0x9E37_79B9], axis=1).astype("<u8").view(np.uint8)


class Life(RuleBasedStateMachine):
    """Two stores on a server that is written to by others, killed and started again.

    `records` holds the value that must be found under each number.
    """

    server = None

    def __init__(self) -> None:
        super().__init__()
        if self.server.process.poll() is not None:
            self.server.start()
        self.running = True
        self.prefix = secrets.token_hex(4)
        self.records: dict[int, float] = {}
        self.puts = 0
        self.stores = [self.server.store(prefix=self.prefix, pause=0) for _ in range(2)]

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    @rule(which=st.integers(0, 1), numbers=st.lists(st.sampled_from(NUMBERS.tolist()), max_size=9))
    def put(self, which, numbers) -> None:
        # Every put offers other values: the first must stay.
        self.puts += 1
        values = np.array(numbers, dtype=float) + self.puts / 1024
        self.stores[which].put(KEYS[numbers], values)
        if self.running:
            for number, value in zip(numbers, values.tolist(), strict=True):
                self.records.setdefault(number, value)

    @precondition(lambda self: self.running)
    @rule(
        number=st.sampled_from(NUMBERS.tolist()),
        content=st.binary(max_size=30) | st.integers(0, 18),
    )
    def poison(self, number, content) -> None:
        if isinstance(content, int):
            other = (number + 1 + content) % len(NUMBERS)
            content = packed(KEYS[other : other + 1], np.array([0.5]))[0]
        self.server.client().set(names_of(KEYS[number : number + 1], self.prefix)[0], content)
        self.records.pop(number, None)

    @precondition(lambda self: self.running)
    @rule(number=st.sampled_from(NUMBERS.tolist()))
    def forget(self, number) -> None:
        self.server.client().delete(names_of(KEYS[number : number + 1], self.prefix)[0])
        self.records.pop(number, None)

    @precondition(lambda self: self.running)
    @rule()
    def kill(self) -> None:
        self.server.kill()
        self.running = False
        self.records.clear()

    @precondition(lambda self: not self.running)
    @rule()
    def start(self) -> None:
        self.server.start()
        self.running = True

    @rule(which=st.integers(0, 1))
    def close(self, which) -> None:
        self.stores[which].close()

    @invariant()
    def what_is_found_is_what_was_recorded_first(self) -> None:
        for store in self.stores:
            values, found = store.get(KEYS)
            assert dict(zip(NUMBERS[found].tolist(), values[found].tolist(), strict=True)) == (
                self.records
            )
            assert not values[~found].any()


def live(server, examples: int) -> None:
    Life.server = server
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DvlWarning)
        run_state_machine_as_test(
            Life, settings=settings(max_examples=examples, stateful_step_count=15, deadline=None)
        )


def test_a_life_of_two_stores(server) -> None:
    live(server, 8)


@pytest.mark.slow
def test_many_lives_of_two_stores(server) -> None:
    live(server, 100)
