"""Work that threads do behind the one that asks for it: results in order, and never too many of them waiting."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_background(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int = 1, ahead: int = 4
) -> Iterator[Result]:
    """function(item) of each item, in their order, computed by threads while the caller makes and uses other items.

    A result is handed over when `ahead` more items are in the threads' hands: memory stays bounded, and the threads
    have something to do. What function raises is raised here, and what had not been begun by then is left out.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
