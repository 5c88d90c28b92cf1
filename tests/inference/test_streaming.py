"""Reading ahead keeps the order, bounds what waits, and leaves no thread behind."""

import threading
import time
from collections.abc import Iterator

import pytest

from hf_fracture.inference.streaming import map_in_order


def count_readers() -> int:
    return sum(thread.name.startswith("hf-fracture-read") for thread in threading.enumerate())


def test_results_come_in_the_order_of_the_items_though_the_first_is_the_slowest() -> None:
    def work(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0.0)
        return number * number

    assert list(map_in_order(work, range(20), num_threads=4, num_ahead=8)) == [n * n for n in range(20)]


def test_items_are_taken_only_as_far_ahead_as_allowed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = map_in_order(lambda number: number, items(), num_threads=2, num_ahead=5)
    for expected in range(10):
        assert next(results) == expected
        assert len(taken) <= expected + 5
    results.close()  # type: ignore[attr-defined]


def test_two_threads_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=5)
    assert len(list(map_in_order(lambda _: meeting.wait(), range(2), num_threads=2, num_ahead=2))) == 2


def test_exception_arrives_in_its_place() -> None:
    results = map_in_order(lambda number: 1 // number, [1, 0, 1], num_threads=2, num_ahead=3)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert count_readers() == 0


def test_consumer_that_stops_early_leaves_no_thread() -> None:
    results = map_in_order(str, range(1000), num_threads=3, num_ahead=6)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert count_readers() == 0


def test_nothing_to_do_yields_nothing() -> None:
    assert list(map_in_order(str, [], num_threads=2, num_ahead=2)) == []
