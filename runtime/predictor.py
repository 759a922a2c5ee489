"""From pixels and boxes to masks with one bundle and one backend: embed once, prompt as often as you like.

This is the adapter of SAM1-type models (an image encoder and a box-prompted mask decoder). It knows nothing of
files but the bundle, and nothing of how a backend computes.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from .backends.base import Backend, HostTensor, Tensor
from .boxes import check_boxes
from .errors import DeviceMemoryError, ParityError
from .pixels import as_image
from .profile import Profile
from .profile_steps import boxes_to_encoder, encoder_inputs, masks_from_logits
from .state import CacheStatus
from .types import AnyArray, Boxes, Logits, Masks

MAX_BOXES = 16
MAX_MASK_BYTES = 2**31  # a bool for each pixel of each box


@dataclass(frozen=True)
class ServedBy:
    """What computed a result: library, device, the encoder's precision as the library says it, the graphs' hashes.

    Where the encoder's graph is int8, `precision` is "int8", or "int8+bf16" if what is left of it runs in bf16.

    `trained` is False where the weights are random: masks mean nothing then.
    """

    backend: str
    version: str
    device: str
    precision: str
    graphs: dict[str, str]
    trained: bool = True


@dataclass(frozen=True)
class Timings:
    """Milliseconds of each stage of one call; 0 for a stage that the call did not have."""

    preprocess_ms: float = 0.0
    encode_ms: float = 0.0
    decode_ms: float = 0.0
    postprocess_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """Sum of the stages."""
        return self.preprocess_ms + self.encode_ms + self.decode_ms + self.postprocess_ms

    def plus(self, other: "Timings") -> "Timings":
        """Add stage by stage."""
        return Timings(
            self.preprocess_ms + other.preprocess_ms,
            self.encode_ms + other.encode_ms,
            self.decode_ms + other.decode_ms,
            self.postprocess_ms + other.postprocess_ms,
        )


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoded image, to be prompted with any number of boxes.

    Attributes:
        tensor: float32 `(1, 256, E, E)`, where the backend keeps it.
        image_hw: Height and width of the image it came from; boxes are in its pixels.
        timings: What it cost.
    """

    tensor: Tensor
    image_hw: tuple[int, int]
    timings: Timings


@dataclass(frozen=True, eq=False)
class Prediction:
    """One mask for each box.

    Attributes:
        masks: bool `(N, H, W)` in pixels of the image; they may overlap.
        low_res_logits: float32 `(N, 1, 4E, 4E)`, as the decoder gave them.
        iou_predictions: float32 `(N, 1)`, the model's own estimate of its masks, not a probability.
        timings: What this call cost; `segment` includes the encoder.
        served_by: What computed it.
    """

    masks: Masks
    low_res_logits: Logits
    iou_predictions: npt.NDArray[np.float32]
    timings: Timings
    served_by: ServedBy


class Predictor:
    """A bundle opened on one backend. Use it as a context manager, or call `close`.

    `embed`, `predict` and `segment` may be called from many threads at once.

    Args:
        profile: The pre- and post-processing contract.
        encoder: The opened `encoder` part.
        decoder: The opened `decoder` part.
        served_by: What to write on each result.
        max_boxes: Boxes per decoder call. Decoder memory grows with it; results do not depend on it.
        cache: How each part was opened: from a compiled model in a state folder, or why not.
    """

    def __init__(
        self,
        profile: Profile,
        encoder: Backend,
        decoder: Backend,
        served_by: ServedBy,
        max_boxes: int = MAX_BOXES,
        cache: Mapping[str, CacheStatus] | None = None,
    ) -> None:
        self.profile, self.served_by, self.max_boxes = profile, served_by, max_boxes
        self.cache = dict(cache or {})
        self._encoder, self._decoder = encoder, decoder

    def embed(self, image: AnyArray) -> Embedding:
        """Encode an image.

        Args:
            image: uint8 `(H, W, 3)` RGB, or `(H, W)` grey.

        Raises:
            ImageError: If the image is of another dtype or shape, empty or too large.
        """
        start = time.perf_counter()
        checked = as_image(image)
        inputs = encoder_inputs(self.profile, checked)
        middle = time.perf_counter()
        embedding = self.encode(inputs)
        timings = Timings(preprocess_ms=_ms(start, middle), encode_ms=_ms(middle, time.perf_counter()))
        return Embedding(embedding, (checked.shape[0], checked.shape[1]), timings)

    def encode(self, inputs: Mapping[str, AnyArray]) -> Tensor:
        """Run the encoder alone on inputs as `encoder_inputs` makes them; `embed` is what most callers want.

        Returns:
            float32 `(1, 256, E, E)`, where the backend keeps it.
        """
        tensors = {name: HostTensor(array) for name, array in inputs.items()}
        return self._encoder.run(tensors, keep_on_device=("image_embedding",))["image_embedding"]

    def predict(self, embedding: Embedding, boxes: npt.ArrayLike) -> Prediction:
        """Draw one mask per box on an encoded image.

        Args:
            embedding: From this predictor's `embed`.
            boxes: `(N, 4)` x_min, y_min, x_max, y_max in pixels of the image.

        Raises:
            BoxError: If a box is not a finite rectangle with area inside the image.
            DeviceMemoryError: If the masks together would take more than `MAX_MASK_BYTES`.
            ParityError: If the decoder gives NaN: a wrong mask is never returned.
        """
        checked = check_boxes(boxes, embedding.image_hw)
        _check_room(len(checked), embedding.image_hw)
        parts = list(self._decode(embedding, checked))
        timings = Timings()
        for part in parts:
            timings = timings.plus(part.timings)
        return Prediction(
            np.concatenate([part.masks for part in parts]),
            np.concatenate([part.low_res_logits for part in parts]),
            np.concatenate([part.iou_predictions for part in parts]),
            timings,
            self.served_by,
        )

    def segment(self, image: AnyArray, boxes: npt.ArrayLike) -> Prediction:
        """Embed and predict in one call; raises what both raise, and checks the boxes before the encoder runs."""
        checked = as_image(image)
        image_hw = (checked.shape[0], checked.shape[1])
        _check_room(len(check_boxes(boxes, image_hw)), image_hw)
        embedding = self.embed(checked)
        one = self.predict(embedding, boxes)
        timings = embedding.timings.plus(one.timings)
        return Prediction(one.masks, one.low_res_logits, one.iou_predictions, timings, one.served_by)

    def decode(self, embedding: Tensor, prompts: Boxes) -> tuple[Logits, npt.NDArray[np.float32]]:
        """Run the decoder alone on one chunk of boxes `(N, 4)`, in pixels of the encoder's square.

        Returns:
            Logits float32 `(N, 1, 4E, 4E)` and IoU estimates float32 `(N, 1)`.

        Raises:
            ParityError: If an estimate is NaN or infinite.
        """
        outputs = self._decoder.run({"image_embedding": embedding, "boxes": HostTensor(prompts)})
        logits, iou = outputs["low_res_logits"].numpy(), outputs["iou_predictions"].numpy()
        _check_finite(iou)
        return logits, iou

    def close(self) -> None:
        """Release both graphs. May be called twice."""
        self._encoder.close()
        self._decoder.close()

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, embedding: Embedding, boxes: Boxes) -> Iterator[Prediction]:
        prompts = boxes_to_encoder(self.profile, boxes, embedding.image_hw)
        for first in range(0, len(prompts), self.max_boxes):
            yield self._decode_chunk(embedding, prompts[first : first + self.max_boxes])

    def _decode_chunk(self, embedding: Embedding, prompts: Boxes) -> Prediction:
        start = time.perf_counter()
        logits, iou = self.decode(embedding.tensor, prompts)
        middle = time.perf_counter()
        masks = masks_from_logits(self.profile, logits, embedding.image_hw)
        timings = Timings(decode_ms=_ms(start, middle), postprocess_ms=_ms(middle, time.perf_counter()))
        return Prediction(masks, logits, iou, timings, self.served_by)


def _check_room(count: int, image_hw: tuple[int, int]) -> None:
    if count * image_hw[0] * image_hw[1] > MAX_MASK_BYTES:
        raise DeviceMemoryError(
            f"masks of at most {MAX_MASK_BYTES // 2**30} GiB together",
            f"{count} masks of {image_hw[0]} x {image_hw[1]} pixels",
            "predict fewer boxes at a time on this embedding",
        )


def _check_finite(iou: AnyArray) -> None:
    if not np.isfinite(iou).all():
        remedy = "run a graph of higher precision, or verify the bundle on this backend"
        raise ParityError("finite IoU estimates from the decoder", "NaN or infinity", remedy)


def _ms(start: float, end: float) -> float:
    return (end - start) * 1e3
