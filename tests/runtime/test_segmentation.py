import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime import files, segmentation
from medsam_edge.runtime.errors import BoxError, CaseError, ImageError, StorageError, UsageError
from medsam_edge.runtime.predictor import Predictor
from medsam_edge.runtime.segmentation import Written, segment_files
from medsam_edge.runtime.types import AnyArray

GRAY = np.random.default_rng(2).integers(0, 256, (48, 80), np.uint8)
RGB = np.random.default_rng(3).integers(0, 256, (48, 80, 3), np.uint8)
BOX = (10.0, 8.0, 50.0, 40.0)
LABELS = np.zeros((48, 80), np.uint8)
LABELS[4:20, 6:30], LABELS[22:44, 40:70] = 1, 2
TIGHT = [[6, 4, 29, 19], [40, 22, 69, 43]]


@pytest.fixture
def predictor(fake_predictor: Callable[..., Predictor]) -> Predictor:
    return fake_predictor()


def save(path: Path, array: AnyArray, **arrays: AnyArray) -> Path:
    path.parent.mkdir(exist_ok=True)
    match path.suffix:
        case ".npy":
            np.save(path, array)
        case ".npz":
            np.savez(path, imgs=array, **arrays)
        case _:
            PIL.Image.fromarray(array).save(path)
    return path


def report_of(written: Written) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path(written.report).read_text())
    return report


def boxes_of(written: Written) -> list[list[float]]:
    return [one["box"] for one in report_of(written)["objects"]]


def segment_one(predictor: Predictor, path: Path, out: Path, **options: Any) -> Written:  # noqa: ANN401
    (written,) = segment_files(predictor, [path], out, **options)
    return written


@pytest.mark.parametrize("image", [GRAY, RGB], ids=["gray", "rgb"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "a.tif", "a.tiff", "a.npy", "a.npz"])
def test_every_kind_of_image_file_gives_label_map_overlay_and_report(
    tmp_path: Path, predictor: Predictor, name: str, image: AnyArray
) -> None:
    written = segment_one(predictor, save(tmp_path / name, image), tmp_path / "out", boxes=[BOX])
    extra = {"a_segs.npz"} if name == "a.npz" else set()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a_labels.png",
        "a_overlay.png",
        "a_report.json",
    } | extra
    with PIL.Image.open(written.labels) as labels, PIL.Image.open(written.overlay) as overlay:
        assert (labels.mode, labels.size, overlay.mode) == ("L", (80, 48), "RGB")
        assert np.unique(np.asarray(labels)).tolist() == [0, 1]
        assert overlay.size[0] % 80 == overlay.size[1] % 48 == 0
    assert written.objects == 1


def test_the_label_map_holds_the_predicted_masks_in_the_order_of_the_boxes(
    tmp_path: Path, predictor: Predictor
) -> None:
    boxes = [BOX, (60.0, 2.0, 78.0, 20.0)]
    written = segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path, boxes=boxes)
    masks = predictor.segment(RGB, boxes).masks
    with PIL.Image.open(written.labels) as labels:
        np.testing.assert_array_equal(np.asarray(labels), np.where(masks[1], 2, masks[0]))


def test_the_report_says_what_was_done_by_what(tmp_path: Path, predictor: Predictor) -> None:
    written = segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes=[BOX])
    report = report_of(written)
    assert report["schema"] == "medsam-edge/segmented-image/1"
    digest = hashlib.sha256(RGB.tobytes()).hexdigest()
    assert report["image"] == {"file": "a.png", "height": 48, "width": 80, "pixels_sha256": digest}
    pixels = int(predictor.segment(RGB, [BOX]).masks[0].sum())
    (found,) = report["objects"]
    assert found.pop("iou_prediction") == pytest.approx(0.8)
    assert found == {
        "label": 1,
        "reference_label": None,
        "box": list(BOX),
        "pixels": pixels,
        "pixels_in_label_map": pixels,
    }
    total = report["timings"].pop("total_ms")
    assert set(report["timings"]) == {"preprocess_ms", "encode_ms", "decode_ms", "postprocess_ms"}
    assert report["served_by"]["backend"] == "fake"
    assert report["files"] == {"labels": "a_labels.png", "overlay": "a_overlay.png"}
    assert total == pytest.approx(sum(report["timings"].values()))
    assert written.total_ms == pytest.approx(total, abs=1e-3)
    assert written.served_by.backend == "fake"


def test_a_challenge_case_brings_its_boxes_and_gets_its_segs(tmp_path: Path, predictor: Predictor) -> None:
    path = save(tmp_path / "case.npz", RGB, boxes=np.array([BOX]))
    written = segment_one(predictor, path, tmp_path / "out")
    assert boxes_of(written) == [list(BOX)]
    assert written.segs == str(tmp_path / "out" / "case_segs.npz")
    with np.load(written.segs) as segs, PIL.Image.open(written.labels) as labels:
        np.testing.assert_array_equal(segs["segs"], np.asarray(labels))


def test_a_challenge_case_without_boxes_gives_those_of_its_labels(tmp_path: Path, predictor: Predictor) -> None:
    path = save(tmp_path / "case.npz", RGB, gts=LABELS)
    assert boxes_of(segment_one(predictor, path, tmp_path / "out")) == TIGHT


def test_given_boxes_come_before_those_of_the_file(tmp_path: Path, predictor: Predictor) -> None:
    path = save(tmp_path / "case.npz", RGB, gts=LABELS, boxes=np.array(TIGHT))
    assert boxes_of(segment_one(predictor, path, tmp_path / "out", boxes=[BOX])) == [list(BOX)]


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_boxes_are_taken_from_a_reference_mask(
    tmp_path: Path, predictor: Predictor, name: str, dtype: type[np.integer[Any]]
) -> None:
    mask = save(tmp_path / name, (LABELS * 100).astype(dtype))
    written = segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes_from=mask)
    assert boxes_of(written) == TIGHT


def test_the_report_keeps_the_numbers_of_the_reference_mask(tmp_path: Path, predictor: Predictor) -> None:
    mask = save(tmp_path / "m.png", np.where(LABELS == 2, 7, LABELS * 3).astype(np.uint8))
    written = segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes_from=mask)
    found = [(one["label"], one["reference_label"]) for one in report_of(written)["objects"]]
    assert found == [(1, 3), (2, 7)]


def test_the_report_says_how_much_of_an_object_another_one_covers(tmp_path: Path, predictor: Predictor) -> None:
    written = segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes=[BOX, BOX])
    first, second = report_of(written)["objects"]
    assert first["pixels"] == second["pixels"] == second["pixels_in_label_map"] > first["pixels_in_label_map"] == 0


def test_a_box_in_which_nothing_is_found_is_named(
    tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = predictor._decoder.run

    def blank(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        found = run(*arguments, **named)
        found["low_res_logits"].numpy()[1] = -9
        return found

    monkeypatch.setattr(predictor._decoder, "run", blank)
    written = segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes=[BOX, BOX, BOX])
    assert (written.objects, written.empty) == (3, (2,))


@pytest.mark.parametrize("given", ["mask", "folder", "image"])
def test_a_result_never_replaces_what_a_person_brought(tmp_path: Path, predictor: Predictor, given: str) -> None:
    image, mask = save(tmp_path / "a.png", RGB), save(tmp_path / "a_labels.png", LABELS)
    before = mask.read_bytes()
    images = [image, mask] if given == "image" else [image]
    boxes = [BOX] if given == "image" else []
    source = {"mask": mask, "folder": tmp_path}.get(given)
    with pytest.raises(UsageError, match=r"results beside a_labels\.png, not over it"):
        list(segment_files(predictor, images, tmp_path, boxes, source))
    assert mask.read_bytes() == before


def test_boxes_are_taken_from_the_labels_of_an_archive(tmp_path: Path, predictor: Predictor) -> None:
    mask = save(tmp_path / "m.npz", RGB, gts=LABELS)
    written = segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes_from=mask)
    assert boxes_of(written) == TIGHT


def test_each_image_takes_the_mask_of_its_name_from_a_folder(tmp_path: Path, predictor: Predictor) -> None:
    images = [save(tmp_path / name, RGB) for name in ("a.png", "b.jpg")]
    save(tmp_path / "masks" / "a.png", LABELS)
    save(tmp_path / "masks" / "b.npy", np.where(LABELS == 2, 2, 0))
    found = list(segment_files(predictor, images, tmp_path / "out", boxes_from=tmp_path / "masks"))
    assert [boxes_of(one) for one in found] == [TIGHT, TIGHT[1:]]


@pytest.mark.parametrize(("names", "found"), [((), "none"), (("a.png", "a.npy"), r"a\.npy, a\.png")])
def test_a_folder_without_the_one_mask_of_an_image_is_refused(
    tmp_path: Path, predictor: Predictor, names: tuple[str, ...], found: str
) -> None:
    for name in ("other.png", *names):
        save(tmp_path / "masks" / name, LABELS)
    with pytest.raises(UsageError, match=rf"one label map named a\.\* in .*; found {found}"):
        segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes_from=tmp_path / "masks")


def test_a_mask_of_another_size_gives_no_boxes(tmp_path: Path, predictor: Predictor) -> None:
    mask = save(tmp_path / "m.png", LABELS[:24, :40])
    with pytest.raises(ImageError, match=r"48 x 80 pixels .* found 24 x 40"):
        segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes_from=mask)


def test_a_mask_of_background_only_is_named(tmp_path: Path, predictor: Predictor) -> None:
    mask = save(tmp_path / "m.png", LABELS * 0)
    with pytest.raises(BoxError, match=r"an object in .*m\.png; found background only"):
        segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes_from=mask)


@pytest.mark.parametrize("name", ["a.png", "a.npz"])
def test_an_image_without_any_box_is_refused_with_the_options(tmp_path: Path, predictor: Predictor, name: str) -> None:
    with pytest.raises(BoxError, match=rf"at least one box for {name}.*--box .*--boxes-from"):
        segment_one(predictor, save(tmp_path / name, RGB), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_objects_than_a_byte_counts_get_sixteen_bits(tmp_path: Path, predictor: Predictor) -> None:
    boxes = [(float(x), float(y), x + 4.0, y + 4.0) for y in range(0, 44, 3) for x in range(0, 76, 4)]
    written = segment_one(predictor, save(tmp_path / "a.npz", RGB), tmp_path / "out", boxes=boxes)
    assert written.objects == len(boxes) == 285
    with PIL.Image.open(written.labels) as labels, np.load(str(written.segs)) as segs:
        assert np.asarray(labels).max() == len(boxes)
        assert segs["segs"].dtype == np.uint16
        np.testing.assert_array_equal(np.asarray(labels), segs["segs"])


def test_two_images_of_one_name_are_refused_before_anything_is_written(tmp_path: Path, predictor: Predictor) -> None:
    images = [save(tmp_path / "one" / "a.png", RGB), save(tmp_path / "two" / "a.jpg", RGB)]
    with pytest.raises(UsageError, match="images with different names"):
        list(segment_files(predictor, images, tmp_path / "out", [BOX]))
    assert not (tmp_path / "out").exists()


def test_a_second_run_replaces_the_results_of_the_first(tmp_path: Path, predictor: Predictor) -> None:
    path = save(tmp_path / "a.png", RGB)
    first = segment_one(predictor, path, tmp_path / "out", boxes=[BOX])
    old = {each: each.read_bytes() for each in (tmp_path / "out").iterdir()}
    second = segment_one(predictor, path, tmp_path / "out", boxes=[(0.0, 0.0, 20.0, 20.0)])
    assert (first.labels, first.report) == (second.labels, second.report)
    assert {each: each.read_bytes() == data for each, data in old.items()} == dict.fromkeys(old, False)


def test_results_before_a_failure_stay_and_the_failing_image_leaves_nothing(
    tmp_path: Path, predictor: Predictor
) -> None:
    images = [save(tmp_path / "a.png", RGB), save(tmp_path / "b.png", RGB[:20])]
    results = segment_files(predictor, images, tmp_path / "out", [BOX])
    assert next(results).objects == 1
    with pytest.raises(BoxError, match="inside its image"):
        next(results)
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["a_labels", "a_overlay", "a_report"]


def test_progress_is_told_from_nothing_to_all(tmp_path: Path, predictor: Predictor) -> None:
    images = [save(tmp_path / f"{name}.png", RGB) for name in "abc"]
    told: list[tuple[int, int]] = []
    list(segment_files(predictor, images, tmp_path / "out", [BOX], progress=lambda *each: told.append(each)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_file_where_the_folder_should_be_is_a_storage_error(tmp_path: Path, predictor: Predictor) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StorageError, match="a file is in the way"):
        segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes=[BOX])
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_of_masks_that_cannot_be_listed_is_a_storage_error(
    tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> list[Path]:
        raise StorageError("a folder that can be read", "“Permission denied”", "…")

    monkeypatch.setattr(segmentation, "list_folder", refuse)
    with pytest.raises(StorageError):
        segment_one(predictor, save(tmp_path / "a.png", RGB), tmp_path / "out", boxes_from=tmp_path)


def test_a_damaged_case_names_its_file(tmp_path: Path, predictor: Predictor) -> None:
    path = save(tmp_path / "case.npz", RGB, boxes=np.array([BOX, BOX]), gts=LABELS[:9])
    with pytest.raises(CaseError, match=r"case\.npz"):
        segment_one(predictor, path, tmp_path / "out")


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_disk_that_fills_at_any_file_leaves_all_of_the_old_results(
    tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    path, out = save(tmp_path / "a.npz", RGB), tmp_path / "out"
    segment_one(predictor, path, out, boxes=[BOX])
    old = {each.name: each.read_bytes() for each in out.iterdir()}
    left, write = [written], files._write_synced

    def fill(target: Path, data: bytes) -> None:
        if not left[0]:
            write(target, data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        write(target, data)

    monkeypatch.setattr(files, "_write_synced", fill)
    with pytest.raises(StorageError, match="free some space"):
        segment_one(predictor, path, out, boxes=[(0.0, 0.0, 20.0, 20.0)])
    assert {each.name: each.read_bytes() for each in out.iterdir()} == old
