"""What a folder's preprocessor_config.json says is suggested to the person, and never taken by itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from medsam_edge.export.architecture import model_of
from medsam_edge.export.checkpoint import read_checkpoint
from medsam_edge.export.hugging_face import suggested_profile
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.pipeline import ExportResult, stated_profile
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.types import Case
from safetensors.torch import save_file

WANGLAB: dict[str, Any] = {
    "do_convert_rgb": True, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 2,
    "rescale_factor": 0.00392156862745098, "size": {"longest_edge": 1024}, "pad_size": {"height": 1024, "width": 1024},
}  # fmt: skip
FLAVIA = WANGLAB | {"do_normalize": False, "image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0], "resample": 3}


def folder_with(path: Path, stated: object) -> Path:
    path.mkdir(exist_ok=True)
    (path / "preprocessor_config.json").write_text(stated if isinstance(stated, str) else json.dumps(stated))
    return path


@pytest.mark.parametrize(
    ("stated", "name"), [(WANGLAB, "medsam-hf-wanglab"), (FLAVIA, "medsam-hf-flaviagiammarino")], ids=["w", "f"]
)
def test_the_two_published_files_are_known(tmp_path: Path, stated: dict[str, Any], name: str) -> None:
    assert suggested_profile(folder_with(tmp_path, stated)) == name


def test_steps_that_are_not_mentioned_are_done(tmp_path: Path) -> None:
    short = {key: WANGLAB[key] for key in ("do_normalize", "image_mean", "image_std", "resample", "size", "pad_size")}
    assert suggested_profile(folder_with(tmp_path, short)) == "medsam-hf-wanglab"


@pytest.mark.parametrize(
    "stated",
    [
        WANGLAB | {"resample": 3},
        FLAVIA | {"resample": 2},
        FLAVIA | {"do_normalize": True, "image_std": [0.5, 0.5, 0.5]},
        WANGLAB | {"image_mean": [0.5, 0.5, 0.5]},
        WANGLAB | {"size": {"height": 1024, "width": 1024}},
        WANGLAB | {"pad_size": {"height": 1024, "width": 512}},
        WANGLAB | {"size": 1024, "pad_size": 1024},
        WANGLAB | {"do_pad": False},
        WANGLAB | {"do_rescale": False},
        WANGLAB | {"rescale_factor": 1.0},
        {},
        [],
        "{",
    ],
    ids=str,
)
def test_any_other_file_suggests_nothing(tmp_path: Path, stated: object) -> None:
    assert suggested_profile(folder_with(tmp_path, stated)) is None


def test_a_folder_without_the_file_suggests_nothing(tmp_path: Path) -> None:
    assert suggested_profile(tmp_path) is None


def test_our_numbers_of_the_kernels_are_pillows() -> None:
    from medsam_edge.export.hugging_face import RESAMPLE
    from PIL.Image import Resampling

    assert RESAMPLE == {"pillow-bilinear": Resampling.BILINEAR, "pillow-bicubic": Resampling.BICUBIC}


@pytest.fixture
def folder(tmp_path: Path, sam: Sam) -> Path:
    path = folder_with(tmp_path / "medsam-vit-base", WANGLAB)
    (path / "config.json").write_text('{"model_type": "sam"}')
    save_file(sam.state_dict(), path / "model.safetensors")
    return path


def test_the_suggestion_stands_in_the_refusal(
    folder: Path, quick_export: Callable[..., ExportResult], tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        quick_export(folder, tmp_path / "b", phantom_cases)
    assert "states the steps of --profile medsam-hf-wanglab" in caught.value.remedy
    assert "--profile medsam if" in caught.value.remedy
    assert not (tmp_path / "b").exists()


def test_the_persons_word_needs_no_suggestion(folder: Path) -> None:
    source = read_checkpoint(folder)
    assert source.profile is None
    assert model_of(source.tensors).config.image_size == 64
    assert stated_profile(source, "medsam") == "medsam"
