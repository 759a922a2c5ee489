"""What a worker measures, behind one seam: a backend of a bundle, or PyTorch as the authors run it.

It knows nothing of processes, messages or statistics.
"""

from typing import Protocol

from ...runtime.boxes import check_boxes
from ...runtime.predictor import Embedding, Predictor, ServedBy, Timings
from ...runtime.types import Boxes, Image, Masks


class Subject(Protocol):
    """A model under the clock. Masks are bool `(N, H, W)`, boxes `(N, 4)` in pixels of the image."""

    @property
    def served_by(self) -> ServedBy:
        """What computes."""
        ...

    def segment(self, image: Image, boxes: Boxes) -> tuple[Masks, Timings]:
        """Encode an image and draw its boxes; the embedding is kept for `again`."""
        ...

    def again(self, boxes: Boxes) -> tuple[Masks, Timings]:
        """Draw more boxes on the last image, without encoding it anew."""
        ...


class BundleSubject:
    """A bundle on one backend, through the same predictor that a device runs."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._embedding: Embedding | None = None

    @property
    def served_by(self) -> ServedBy:
        """What computes."""
        return self._predictor.served_by

    def segment(self, image: Image, boxes: Boxes) -> tuple[Masks, Timings]:
        """See `Subject`."""
        check_boxes(boxes, (image.shape[0], image.shape[1]))
        self._embedding = self._predictor.embed(image)
        masks, timings = self.again(boxes)
        return masks, self._embedding.timings.plus(timings)

    def again(self, boxes: Boxes) -> tuple[Masks, Timings]:
        """See `Subject`."""
        assert self._embedding is not None
        found = self._predictor.predict(self._embedding, boxes)
        return found.masks, found.timings
