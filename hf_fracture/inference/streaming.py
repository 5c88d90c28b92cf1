"""Reading ahead: a map over threads that keeps the order and bounds what lies in memory. Standard library only."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int, num_ahead: int
) -> Iterator[Result]:
    """Apply a function in threads and yield its results in the order of the items.

    Args:
        function: Called once per item, in any thread. Its exception is raised where its result would be yielded.
        items: Taken one at a time; at most `num_ahead` results wait to be yielded.
        num_threads: Threads that call the function, at least 1.
        num_ahead: Bound on the results that are ready or under way, at least 1.

    Yields:
        One result per item. A consumer that stops early leaves no thread behind.

    >>> list(map_in_order(str.upper, ["a", "b"], num_threads=2, num_ahead=2))
    ['A', 'B']
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=num_threads, thread_name_prefix="hf-fracture-read") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= num_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
