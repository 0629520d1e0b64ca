"""Calling a function for many things at once, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

if TYPE_CHECKING:
    from beamvec.embeddings.parts import Part

REMOTE_THREADS = 16
"""Reads at the same time where a store's latency counts for more than the cores."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], parts: Sequence[Part] = ()
) -> Iterator[Result]:
    """Call a function in threads, as many as fit to where the parts it reads are; yield in order.

    No more than two results for each thread are held.
    """
    threads = pa.cpu_count() if all(part.is_local for part in parts) else REMOTE_THREADS
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "embeddings") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # The reader may stop early.
            for future in pending:
                future.cancel()
