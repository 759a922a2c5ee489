"""Encodes the next slices while others are decoded, and keeps embeddings that will be needed again, within a budget.

One worker thread, a queue of a few slices: memory does not grow with the number of slices. `Predictor` may be called
from several threads, and backends leave Python's lock while they compute.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import prod
from types import TracebackType

from ..predictor import Embedding
from .tracks import Step

BYTES = 4  # of an element of an embedding


class EncodedAhead:
    """Embeddings of slices in the order of steps. Use it as a context manager; leaving it waits for the worker.

    Args:
        encode: Makes the embedding of a slice; called from the worker thread.
        again: Slices that are visited twice.
        ahead: How many slices may wait encoded.
        keep_bytes: The most that kept embeddings may take. Without room, a slice is encoded a second time.

    Attributes:
        ahead: As given.
        encoded: How many times a slice was encoded.
        encode_ms: Milliseconds that it took.
    """

    def __init__(self, encode: Callable[[int], Embedding], again: Iterable[int], ahead: int, keep_bytes: int) -> None:
        self._encode, self._again, self.ahead, self._room = encode, frozenset(again), ahead, keep_bytes
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._queue: deque[tuple[Step, Future[Embedding]]] = deque()
        self._kept: dict[int, Embedding] = {}
        self.encoded, self.encode_ms = 0, 0.0

    def prepare(self, coming: Sequence[Step]) -> None:
        """Have the next steps encoded, as many as may wait; those that are queued already stay."""
        queued = {step for step, _ in self._queue}
        for step in coming[: self.ahead + 1]:
            if step not in queued and step.index not in self._kept:
                self._queue.append((step, self._worker.submit(self._count, step.index)))

    def take(self, step: Step) -> Embedding:
        """Return the embedding of a step that was prepared; earlier ones that nobody took are dropped.

        Raises:
            MedSAMEdgeError: Whatever the encoder raised.
        """
        while self._queue and self._queue[0][0] != step:
            if step.index in self._kept:
                break
            self._queue.popleft()[1].cancel()
        kept = self._kept.pop(step.index, None)
        if kept is not None:
            return kept
        return self._queue.popleft()[1].result()

    def keep(self, step: Step, embedding: Embedding) -> None:
        """Hold an embedding for the way down, if its slice is visited again and there is room.

        The way down begins with the highest slices, so the lowest one makes room.
        """
        if step.index not in self._again:
            return
        size = prod(embedding.tensor.shape) * BYTES
        self._kept[step.index] = embedding
        while self._kept and len(self._kept) * size > self._room:
            del self._kept[min(self._kept)]

    def _count(self, index: int) -> Embedding:
        found = self._encode(index)
        self.encoded += 1
        self.encode_ms += found.timings.total_ms
        return found

    def __enter__(self) -> "EncodedAhead":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._kept.clear()
        self._queue.clear()
