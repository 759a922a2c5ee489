"""Where boxes come from; what is read from label maps and archives is tested through `segment_files`."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime.errors import StorageError, UsageError
from medsam_edge.runtime.prompts import check_sources, prompts_for

BOX = (10.0, 8.0, 50.0, 40.0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    PIL.Image.fromarray(np.random.default_rng(2).integers(0, 256, (48, 80), np.uint8)).save(path)
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path, labels = tmp_path / "m.png", np.zeros((48, 80), np.uint8)
    labels[4:20, 6:30] = 7
    PIL.Image.fromarray(labels).save(path)
    return path


def test_a_label_map_gives_boxes_and_keeps_its_numbers(image: Path, labels: Path) -> None:
    found = prompts_for(image, (48, 80), [], labels)
    assert found.boxes.tolist() == [[6, 4, 29, 19]]
    assert found.reference_labels == (7,)


def test_given_boxes_have_no_labels(image: Path) -> None:
    assert prompts_for(image, (48, 80), [BOX], None).reference_labels is None


def test_boxes_come_from_one_source(image: Path, labels: Path) -> None:
    check_sources([image], [BOX], None)
    check_sources([image], [], labels)
    with pytest.raises(UsageError, match="boxes from one source"):
        check_sources([image], [BOX], labels)


def test_one_label_map_does_not_serve_two_images(image: Path, labels: Path) -> None:
    check_sources([image, image], [], labels.parent)
    with pytest.raises(UsageError, match="a label map for each image; found one for 2 images"):
        check_sources([image, image], [], labels)


@pytest.mark.parametrize("folder", [False, True])
def test_an_image_is_not_its_own_label_map(image: Path, folder: bool) -> None:
    with pytest.raises(UsageError, match="found the image itself"):
        prompts_for(image, (48, 80), [], image.parent if folder else image)


@pytest.mark.parametrize("name", ["none.png", "n" * 300])
def test_a_label_map_that_is_not_there_is_a_storage_error(image: Path, name: str) -> None:
    with pytest.raises(StorageError):
        prompts_for(image, (48, 80), [], image.parent / name)
