"""From the slices of a volume and its objects to one label volume: outward from each object's middle, slice by slice.

Slices are visited twice at most, upwards and then downwards, and each visit serves all objects that pass it. Beyond the
voxels and one label volume nothing grows with the number of slices.

Where objects overlap, the later one lies over the earlier: label i is the i-th object, and the highest label of a voxel
stays, in whatever order slices are visited.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from ..errors import CancelledError
from ..predictor import Embedding, Predictor
from ..types import AnyArray, Boxes, Masks
from ..windows import Window
from .ahead import EncodedAhead
from .conventions import STOP, Convention, check_after_empty, convention_of
from .journal import Journal
from .levels import VOLUME, Slices, choose_window, slices_of
from .planes import ACQUISITION, Slicing, slicing_named
from .prompts import Prompt
from .tracks import DOWN, UP, Step, Tracks, steps_of
from .volume import Volume

AHEAD = 2
KEEP_BYTES = 2**29
AT_ONCE = 64  # masks in memory, whatever the number of objects
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class VolumeOptions:
    """How a volume is segmented.

    Attributes:
        slicing: Of `SLICINGS`: which slices, and how they lie.
        convention: Of `CONVENTIONS`; None for the profile's own.
        after_empty: Of `AFTER_EMPTY`: what an empty mask means for the slices behind it.
        window: For more than 8 bits; None for that of the modality.
        scope: Of `SCOPES`: what gives the ends of the grey scale.
        ahead: Slices that may wait encoded.
        keep_bytes: Embeddings that are kept for the second visit may take this much.
    """

    slicing: str = ACQUISITION
    convention: str | None = None
    after_empty: str = STOP
    window: Window | None = None
    scope: str = VOLUME
    ahead: int = AHEAD
    keep_bytes: int = KEEP_BYTES


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume ready to be segmented: its slices, and what the options say for it.

    Attributes:
        volume: The volume.
        slices: As images.
        slicing: How it is cut.
        convention: How objects go from slice to slice.
        options: As given.
    """

    volume: Volume
    slices: Slices
    slicing: Slicing
    convention: Convention
    options: VolumeOptions


@dataclass(frozen=True, eq=False)
class SegmentedVolume:
    """What was found.

    Attributes:
        labels: `(D, H, W)` as the volume is stored: uint8 up to 255 objects, uint16 above; 0 is background.
        voxels: int64 `(N,)`, voxels of each object, with those that a later one covers.
        slices: int64 `(N,)`, slices in which each object has a mask.
        encoded: How many slices were encoded in this run.
        decoded: How many masks were drawn in this run.
        resumed: Visits of slices that an earlier run had done.
        encode_ms: Milliseconds of the encoder, which ran beside the decoder.
        decode_ms: Milliseconds of the decoder and of drawing.
        total_ms: Of all, on the clock.
    """

    labels: AnyArray
    voxels: AnyArray
    slices: AnyArray
    encoded: int
    decoded: int
    resumed: int
    encode_ms: float
    decode_ms: float
    total_ms: float


def prepare(volume: Volume, predictor: Predictor, options: VolumeOptions) -> Prepared:
    """Settle how a volume is cut, windowed and traversed.

    Raises:
        UsageError: A name that is none.
        VolumeError: Grey levels or an orientation that this cannot be done with.
    """
    check_after_empty(options.after_empty)
    slicing = slicing_named(options.slicing, volume.geometry)
    convention = convention_of(predictor.profile, options.convention)
    slices = slices_of(volume, slicing, choose_window(volume, options.window), options.scope)
    return Prepared(volume, slices, slicing, convention, options)


def segment_volume(
    predictor: Predictor,
    prepared: Prepared,
    prompts: Sequence[Prompt],
    journal: Journal | None = None,
    progress: Progress = lambda _done, _all: None,
    cancel: threading.Event | None = None,
) -> SegmentedVolume:
    """Segment a volume.

    Args:
        predictor: The opened bundle.
        prepared: From `prepare`.
        prompts: The objects, from one of `prompts_from_…`.
        journal: Where to note each slice, and to take up an earlier run.
        progress: Told the visits of slices done and how many there are at most.
        cancel: Once it is set, the work stops before the next slice.

    Raises:
        CancelledError: `cancel` was set.
        ParityError: The decoder gave NaN.
        StorageError: The journal cannot be written.
    """
    start = time.perf_counter()
    labels = np.zeros(prepared.volume.shape, np.uint8 if len(prompts) <= 255 else np.uint16)
    loop = _Loop(predictor, prepared, prompts, prepared.slicing.view(labels))
    resumed = journal.replay(loop.tracks, loop.view) if journal else 0
    with loop.encoded_ahead() as ahead:
        for done, step in loop.steps(ahead, resumed):
            if cancel is not None and cancel.is_set():
                raise CancelledError("to go on", f"a request to stop after {done - 1} visits", "start it again")
            loop.visit(ahead, step)
            if journal:
                journal.note(done, step.index, loop.tracks, loop.view[step.index])
            progress(done, len(loop.all_steps))
    progress(len(loop.all_steps), len(loop.all_steps))
    tracks, total = loop.tracks, (time.perf_counter() - start) * 1e3
    figures = (ahead.encoded, loop.decoded, resumed, ahead.encode_ms, loop.decode_ms, total)
    return SegmentedVolume(labels, tracks.voxels, tracks.slices, *figures)


class _Loop:
    """The state of one run: everything in it but the labels is of constant size."""

    def __init__(self, predictor: Predictor, prepared: Prepared, prompts: Sequence[Prompt], view: AnyArray) -> None:
        self._predictor, self._slices, self._options = predictor, prepared.slices, prepared.options
        self.tracks = Tracks(prompts, prepared.convention, prepared.options.after_empty)
        self.all_steps, self.view = steps_of(prompts), view
        self.decoded, self.decode_ms = 0, 0.0

    def encoded_ahead(self) -> EncodedAhead:
        """Open the queue of encoded slices."""
        ways = [{step.index for step in self.all_steps if step.way == way} for way in (UP, DOWN)]
        return EncodedAhead(self._encode, ways[0] & ways[1], self._options.ahead, self._options.keep_bytes)

    def steps(self, ahead: EncodedAhead, done: int) -> Iterator[tuple[int, Step]]:
        """The steps that have something to draw, counted from 1, each with the next ones under way."""
        while True:
            numbered = enumerate(self.all_steps[done:], start=done + 1)
            coming = list(islice((one for one in numbered if self.tracks.at(one[1]).size), ahead.ahead + 1))
            if not coming:
                return
            ahead.prepare([step for _, step in coming])
            done = coming[0][0]
            yield coming[0]

    def visit(self, ahead: EncodedAhead, step: Step) -> None:
        """Draw all objects of one slice."""
        embedding = ahead.take(step)
        which = self.tracks.at(step)
        boxes = self.tracks.boxes_at(step, which)
        for first in range(0, len(which), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            masks = self._masks(embedding, boxes[part])
            self.tracks.update(step, which[part], masks)
            _paint(self.view[step.index], masks, which[part])
        if step.way == UP:
            ahead.keep(step, embedding)

    def _encode(self, index: int) -> Embedding:
        return self._predictor.embed(self._slices.image(index))

    def _masks(self, embedding: Embedding, boxes: Boxes) -> Masks:
        prediction = self._predictor.predict(embedding, boxes)
        self.decoded += len(boxes)
        self.decode_ms += prediction.timings.total_ms
        return prediction.masks


def _paint(plane: AnyArray, masks: Masks, which: AnyArray) -> None:
    """Write labels 1 … N; a higher label that is there already stays."""
    for one, mask in zip(which.tolist(), masks, strict=True):
        plane[mask & (plane <= one)] = one + 1


def journal_key(predictor: Predictor, prepared: Prepared, prompts: Sequence[Prompt]) -> dict[str, object]:
    """Everything that the labels depend on, for `Journal`."""
    volume, options = prepared.volume, prepared.options
    unimportant = replace(options, ahead=AHEAD, keep_bytes=KEEP_BYTES)
    return {
        "voxels": voxels_sha256(volume),
        "rescale": list(volume.rescale),
        "slicing": prepared.slicing,
        "applied": prepared.slices.applied,
        "options": unimportant,
        "convention": prepared.convention,
        "prompts": list(prompts),
        "profile": predictor.profile,
        "served_by": predictor.served_by,
    }


def voxels_sha256(volume: Volume) -> str:
    """SHA-256 of shape, type and stored voxels."""
    digest = hashlib.sha256(f"{volume.shape} {volume.voxels.dtype.str} ".encode())
    for plane in volume.voxels:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()
