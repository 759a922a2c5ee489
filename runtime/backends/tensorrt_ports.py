"""Where an engine's inputs and outputs lie: on the GPU, and in pinned host memory on the way there and back.

On a GPU that shares the processor's memory the two are the same bytes, and nothing is copied. It knows shapes and
bytes, and not what is computed.
"""

import math
import weakref
from collections import deque
from threading import RLock
from typing import cast

import numpy as np

from ..errors import UsageError
from ..manifest import TensorSpec
from ..types import AnyArray
from .device_memory import DeviceMemory, Pinned

INTERMEDIATE = ("image_embedding",)
"""Tensors that go from one engine to the next: always in the GPU's own memory, which it reads many times."""


class Port:
    """One tensor of an engine, at the size of its largest profile.

    Attributes:
        spec: Its name, dtype and shape.
        address: What the engine is told.
    """

    def __init__(self, memory: DeviceMemory, spec: TensorSpec, most: int) -> None:
        self.spec = spec
        self._memory, self._dtype = memory, np.dtype(spec.dtype)
        self._count = math.prod(self.shape(most)) * self._dtype.itemsize
        self._mapped = memory.integrated and spec.name not in INTERMEDIATE
        self._pinned: Pinned | None = memory.allocate_pinned(self._count, True) if self._mapped else None
        self.address = self._pinned.address if self._pinned else memory.allocate(self._count)

    def shape(self, size: int) -> tuple[int, ...]:
        """Return the shape for a number of boxes."""
        return tuple(size if side == "N" else cast("int", side) for side in self.spec.shape)

    def count(self, size: int) -> int:
        """Return the bytes for a number of boxes."""
        return math.prod(self.shape(size)) * self._dtype.itemsize

    def put(self, array: AnyArray, size: int, stream: int) -> None:
        """Send an array to the engine, its last row repeated up to `size` where it has fewer."""
        host = self._host(size)
        rows = len(array)
        host[:rows] = array
        if "N" in self.spec.shape:
            host[rows:] = array[-1]
        else:
            assert rows == len(host)
        if not self._mapped:
            self._memory.upload(self.address, _bytes(host), stream)

    def fetch(self, size: int, stream: int) -> None:
        """Send what the engine wrote to the host; `taken` has it once the stream is done."""
        if not self._mapped:
            self._memory.download(_bytes(self._host(size)), self.address, stream)

    def taken(self, size: int, rows: int) -> AnyArray:
        """Return the caller's own copy of the first rows."""
        host = self._host(size)
        return np.array(host[:rows] if "N" in self.spec.shape else host)

    def close(self) -> None:
        """Give the memory back."""
        if not self._mapped:
            self._memory.free(self.address)
        if self._pinned is not None:
            self._memory.free_pinned(self._pinned)
            self._pinned = None

    def _host(self, size: int) -> AnyArray:
        if self._pinned is None:
            self._pinned = self._memory.allocate_pinned(self._count, False)
        return self._pinned.array[: self.count(size)].view(self._dtype).reshape(self.shape(size))


def _bytes(array: AnyArray) -> AnyArray:
    return array.reshape(-1).view(np.uint8)


class Pool:
    """GPU memory that outlives a run: tensors handed to the caller, used again once the caller has let go of them.

    A tensor may be dropped on any thread and at any time, so `give` touches nothing but a queue.
    """

    def __init__(self, memory: DeviceMemory, lock: RLock, stream: int) -> None:
        self._memory, self._lock, self._stream = memory, lock, stream
        self._back: deque[tuple[int, int]] = deque()
        self._out: dict[int, int] = {}  # address to bytes, of everything that was ever taken
        self.closed = False

    def take(self, count: int) -> int:
        """Return memory of exactly that size."""
        for _ in range(len(self._back)):
            address, size = self._back.popleft()
            if size == count:
                return address
            self._back.append((address, size))
        address = self._memory.allocate(count)
        self._out[address] = count
        return address

    def give(self, address: int, count: int) -> None:
        """Let memory be used again."""
        self._back.append((address, count))

    def read(self, address: int, array: AnyArray) -> None:
        """Copy memory into a host array and wait for it."""
        with self._lock, self._memory.current():
            pinned = self._memory.allocate_pinned(array.nbytes, False)
            try:
                self._memory.download(pinned.array, address, self._stream)
                self._memory.synchronise(self._stream)
                array.reshape(-1).view(np.uint8)[:] = pinned.array
            finally:
                self._memory.free_pinned(pinned)

    def close(self) -> None:
        """Free everything, what callers still hold included: their tensors say so when they are asked."""
        self.closed = True
        while self._out:
            address, _ = self._out.popitem()
            self._memory.free(address)
        self._back.clear()


class DeviceTensor:
    """A tensor on the GPU, the caller's own until it is dropped or its backend is closed."""

    def __init__(self, pool: Pool, address: int, shape: tuple[int, ...], dtype: str) -> None:
        self._pool, self._address, self._shape, self._dtype = pool, address, shape, dtype
        weakref.finalize(self, pool.give, address, self.count).atexit = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes."""
        return self._shape

    @property
    def dtype(self) -> str:
        """Numpy's name of the element type."""
        return self._dtype

    @property
    def count(self) -> int:
        """Bytes."""
        return math.prod(self._shape) * np.dtype(self._dtype).itemsize

    @property
    def address(self) -> int:
        """Where it lies.

        Raises:
            UsageError: Its backend was closed.
        """
        if self._pool.closed:
            raise UsageError("a tensor of an open backend", "one whose backend was closed", "embed the image again")
        return self._address

    def numpy(self) -> AnyArray:
        """Return the value on the host; raises what `address` raises."""
        array = np.empty(self._shape, self._dtype)
        self._pool.read(self.address, array)
        return array
