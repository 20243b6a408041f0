"""Trying again: which faults, how long, and with which waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from s3kit import FakeTime

from vaultpy.errors import StoreDenied, StoreError, StoreUnavailable
from vaultpy.store.retry import Patience, Retrier, TryAgain

PATIENCE = Patience(first=1, longest=8, deadline=60, before_answer=10)


def retrier(time: FakeTime, jitter: Callable[[], float] = lambda: 1.0) -> Retrier:
    return Retrier(PATIENCE, clock=time.clock, sleep=time.sleep, jitter=jitter)


def failing(faults: Sequence[StoreError], result: str = "done") -> Callable[[], str]:
    left = list(faults)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return result

    return attempt


def test_a_success_is_returned_without_a_wait(fake_time: FakeTime) -> None:
    assert retrier(fake_time).run(failing([])) == "done"
    assert fake_time.slept == []


def test_the_bound_of_the_waits_doubles_up_to_the_longest(fake_time: FakeTime) -> None:
    trying = retrier(fake_time)
    trying.run(failing([]))
    assert trying.run(failing([TryAgain("busy")] * 6)) == "done"
    assert fake_time.slept == [1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_jitter_is_full(fake_time: FakeTime, share: float) -> None:
    trying = retrier(fake_time, lambda: share)
    trying.run(failing([]))
    trying.run(failing([TryAgain("busy")] * 3))
    assert fake_time.slept == [share, 2 * share, 4 * share]


def test_the_server_s_wait_is_the_least_one(fake_time: FakeTime) -> None:
    trying = retrier(fake_time, lambda: 0.5)
    trying.run(failing([]))
    trying.run(failing([TryAgain("busy", after=5), TryAgain("busy", after=0.1)]))
    assert fake_time.slept == [5, 1.0]


def test_a_fault_that_lasts_ends_at_the_deadline_with_what_was_said_last(fake_time: FakeTime) -> None:
    trying = retrier(fake_time)
    trying.run(failing([]))
    with pytest.raises(StoreUnavailable, match=r"last \(tried 10 times in 55 s\)") as caught:
        trying.run(failing([TryAgain("first")] * 9 + [TryAgain("last", hint="advice")] * 9))
    assert caught.value.hint == "advice"
    assert not isinstance(caught.value, TryAgain)
    assert sum(fake_time.slept) == 55


def test_the_time_that_attempts_take_counts(fake_time: FakeTime) -> None:
    def slow() -> str:
        fake_time.now += 25
        raise TryAgain("slow")

    trying = retrier(fake_time)
    trying.run(failing([]))
    with pytest.raises(StoreUnavailable, match="tried 4 times in 82 s"):
        trying.run(slow)


def test_a_long_attempt_before_the_first_fault_does_not_count(fake_time: FakeTime) -> None:
    left = [1000.0, 1.0]

    def slow_at_first() -> str:
        if left:
            fake_time.now += left.pop(0)
            raise TryAgain("broke after a long upload")
        return "done"

    assert retrier(fake_time).run(slow_at_first) == "done"


def test_until_the_first_answer_patience_is_shorter(fake_time: FakeTime) -> None:
    with pytest.raises(StoreUnavailable, match="tried 4 times"):
        retrier(fake_time).run(failing([TryAgain("not there")] * 99))
    assert sum(fake_time.slept) == 7


def test_a_wait_beyond_the_deadline_is_not_begun(fake_time: FakeTime) -> None:
    with pytest.raises(StoreUnavailable, match="tried once"):
        retrier(fake_time).run(failing([TryAgain("busy", after=11)]))
    assert fake_time.slept == []


def test_a_wait_up_to_the_deadline_is(fake_time: FakeTime) -> None:
    assert retrier(fake_time).run(failing([TryAgain("busy", after=10)])) == "done"


@pytest.mark.parametrize("error", [StoreDenied("no"), StoreUnavailable("the disk is gone"), StoreError("odd")])
def test_other_errors_pass_at_once(fake_time: FakeTime, error: StoreError) -> None:
    with pytest.raises(StoreError) as caught:
        retrier(fake_time).run(failing([error]))
    assert caught.value is error
    assert fake_time.slept == []


def test_a_thousand_tries_do_not_overflow(fake_time: FakeTime) -> None:
    trying = Retrier(Patience(first=1, longest=1, deadline=10**9), clock=fake_time.clock, sleep=fake_time.sleep)
    trying.run(failing([]))
    assert trying.run(failing([TryAgain("busy")] * 2000)) == "done"
