"""The profiles' steps as their sources do them, with the sources' own libraries: what our steps are measured against.

scikit-image for MedSAM and the Slicer plug-in, OpenCV for LiteMedSAM, Transformers for the Hugging Face repositories,
PyTorch for all masks. None of our own steps is used here, so that agreement means something.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ..runtime.backends.choose import install_hint
from ..runtime.errors import MissingExtraError
from ..runtime.types import AnyArray, Boxes, Image, Logits, Masks
from .worker.upstream_steps import Script, longest_side, script_for

HF_RESAMPLE = {"medsam-hf-wanglab": 2, "medsam-hf-flaviagiammarino": 3}  # Pillow's numbers: bilinear, bicubic
_PACKAGES = {"skimage.transform": "scikit-image", "cv2": "opencv-python-headless"}


@dataclass(frozen=True)
class SourceSteps:
    """What one source does before its encoder and after its decoder.

    Attributes:
        libraries: The modules that it does it with.
        encoder_inputs: `(image, S)` to the inputs of our encoder part; normalisation is in the graph.
        boxes: `(boxes, (H, W), S)` to float32 `(N, 4)` in pixels of the square.
        masks: `(logits, (H, W), S)` to bool `(N, H, W)`.
    """

    libraries: tuple[str, ...]
    encoder_inputs: Callable[[Image, int], dict[str, AnyArray]]
    boxes: Callable[[Boxes, tuple[int, int], int], Boxes]
    masks: Callable[[Logits, tuple[int, int], int], Masks]


def source_steps(profile: str) -> SourceSteps:
    """Return the steps behind a profile's name.

    Raises:
        MissingExtraError: If a library that does them is not installed.
    """
    scripted = profile not in HF_RESAMPLE
    steps = _scripted(script_for(profile)) if scripted else _hugging_face(HF_RESAMPLE[profile])
    for module in steps.libraries:
        _library(module)
    return steps


def _scripted(script: Script) -> SourceSteps:
    def inputs(image: Image, side: int) -> dict[str, AnyArray]:
        resized = script.resize(image, side)
        # Zeros after min-max are the minimum before it.
        return {"image": _planes(resized, side, resized.min())}

    def boxes(given: Boxes, image_hw: tuple[int, int], side: int) -> Boxes:
        scaled: Boxes = script.boxes(given, image_hw, side).numpy()
        return scaled

    def masks(logits: Logits, image_hw: tuple[int, int], _side: int) -> Masks:
        return script.draw(_tensor(logits), image_hw)

    return SourceSteps((*script.libraries, "torch"), inputs, boxes, masks)


def _hugging_face(resample: int) -> SourceSteps:
    """SamProcessor's own methods; sizes of the image processor are given, so nothing is read or downloaded."""

    def inputs(image: Image, side: int) -> dict[str, AnyArray]:
        processor = image_processor(resample, side)
        found = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")
        named: dict[str, AnyArray] = {"image": np.asarray(found["pixel_values"]).astype(np.uint8)}
        if resample == HF_RESAMPLE["medsam-hf-wanglab"]:
            named["valid_hw"] = np.asarray(found["reshaped_input_sizes"])[0].astype(np.int32)
        return named

    def boxes(given: Boxes, image_hw: tuple[int, int], side: int) -> Boxes:
        processor = _library("transformers").SamProcessor(image_processor(resample, side))
        blank = np.zeros((*image_hw, 3), np.uint8)
        found = processor(blank, input_boxes=[given.tolist()], return_tensors="pt")
        scaled: Boxes = found["input_boxes"][0].float().numpy()
        return scaled

    def masks(logits: Logits, image_hw: tuple[int, int], side: int) -> Masks:
        sizes = ([image_hw], [longest_side(image_hw, side)])
        processor = image_processor(resample, side)
        (found,) = processor.post_process_masks([_tensor(logits).sigmoid()], *sizes, mask_threshold=0.5)
        drawn: Masks = found[:, 0].numpy()
        return drawn

    return SourceSteps(("transformers", "torch"), inputs, boxes, masks)


def image_processor(resample: int, side: int) -> Any:  # noqa: ANN401 - Transformers has no types
    """Transformers' image processor on Pillow: `SamImageProcessorPil` since its version 5, `SamImageProcessor` before.

    Args:
        resample: Pillow's number of the kernel; bilinear goes with ImageNet's mean and std, bicubic with none.
        side: S.
    """
    _library("transformers")
    try:
        kind = import_module("transformers.models.sam.image_processing_pil_sam").SamImageProcessorPil
    except ImportError:
        kind = import_module("transformers").SamImageProcessor
    square = {"height": side, "width": side}
    normalise = resample == HF_RESAMPLE["medsam-hf-wanglab"]
    return kind(resample=resample, size={"longest_edge": side}, pad_size=square, do_normalize=normalise)


def _planes(resized: Image, side: int, value: int) -> AnyArray:
    height, width = resized.shape[:2]
    padding = ((0, side - height), (0, side - width), (0, 0))
    padded: AnyArray = np.pad(resized, padding, constant_values=value)
    return np.ascontiguousarray(padded.transpose(2, 0, 1)[None])


def _tensor(logits: Logits) -> Any:  # noqa: ANN401 - torch may be absent
    return _library("torch").from_numpy(np.ascontiguousarray(logits))


def _library(module: str) -> Any:  # noqa: ANN401
    try:
        return import_module(module)
    except ImportError as error:
        package = _PACKAGES.get(module, module)
        expected, found = "the library that the profile is defined by", f"{package} not installed"
        raise MissingExtraError(expected, found, install_hint("dev")) from error
