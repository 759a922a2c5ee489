"""What a person can get wrong, through the command line: one line, the right exit code, nothing lost."""

import errno
import io
import json
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime import files
from medsam_edge.runtime.errors import ExitCode
from medsam_edge.runtime.types import AnyArray

Cli = Callable[..., CompletedProcess[str]]
Refused = Callable[..., str]
LINE = re.compile(r"medsam-edge: expected .+; found .+\. To mend it: .+\.\n")
GRAY = np.random.default_rng(4).integers(0, 256, (60, 90), np.uint8)
BOX = ("--box", "10,10,50,40")


def content(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def refused(cli: Cli) -> Refused:
    """Run a verb that must fail with one line, and say that line; with --json it is a document too."""

    def run(code: ExitCode, *words: object) -> str:
        done = cli(*words)
        assert (done.returncode, done.stdout) == (code, "")
        assert LINE.fullmatch(done.stderr)
        again = cli(*words, "--json")
        assert (again.returncode, again.stderr) == (code, done.stderr)
        assert json.loads(again.stdout)["exit_code"] == code
        return done.stderr

    return run


@pytest.fixture
def segment(refused: Refused, tiny_bundle: Path, tmp_path: Path) -> Refused:
    """Segment something that must fail, into a folder with older results that must survive."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("image_report.json", "image_labels.png", "image_overlay.png"):
        (out / name).write_text(f"older {name}")

    def run(code: ExitCode, *words: object, bundle: Path = tiny_bundle) -> str:
        before = content(out)
        line = refused(code, "segment", bundle, *words, "--out", out, "--backend", "fake")
        assert content(out) == before
        return line

    return run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    PIL.Image.fromarray(GRAY).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("10,10,95,40", "use the part inside, 10,10,90,40"),
        ("-1,10,50,40", "inside its image"),
        ("10,10,50,61", "90 x 60 (width x height)"),
        ("200,200,300,300", "does not touch it"),
        ("50,40,10,10", "swap the corners"),
        ("10,40,50,10", "ordered x_min,y_min,x_max,y_max"),
        ("10,10,10,40", "a box with an area"),
        ("10,10,50,10", "a box with an area"),
        ("10,10,nan,40", "four finite numbers"),
        ("10,10,inf,40", "four finite numbers"),
        ("10,10,1e300,40", "finite box corners"),
        ("10,10,50", "“10,10,50”"),
        ("10 10 50 40", "write it like 10,20,110,95"),
        ("", "four finite numbers"),
    ],
)
def test_a_box_that_names_no_region(segment: Refused, image: Path, box: str, words: str) -> None:
    assert words in segment(ExitCode.USAGE, image, f"--box={box}")


def test_one_bad_box_among_good_ones(segment: Refused, image: Path) -> None:
    assert "box 2 of 2" in segment(ExitCode.USAGE, image, *BOX, "--box", "0,0,91,5")


def test_no_box_at_all(segment: Refused, image: Path) -> None:
    assert "--boxes-from" in segment(ExitCode.USAGE, image)


def npy(array: AnyArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def picture(array: AnyArray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def npy_header(*shape: int) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data))
    return b"\x89PNG\r\n\x1a\n" + chunk + picture(GRAY)[33:]


CHANNELS = {count: np.stack([GRAY] * count, axis=2) for count in (2, 4, 5)}
BAD_IMAGES = {
    "two channels.npy": (npy(CHANNELS[2]), "found 2 channels"),
    "two channels.png": (picture(CHANNELS[2]), "found 2 channels (LA)"),
    "four channels.npy": (npy(CHANNELS[4]), "found 4 channels"),
    "four channels.png": (picture(CHANNELS[4]), "found 4 channels (RGBA)"),
    "four channels.tif": (picture(CHANNELS[4], "TIFF"), "found 4 channels"),
    "five channels.npy": (npy(CHANNELS[5]), "found 5 channels"),
    "sixteen bits.npy": (npy(GRAY.astype(np.uint16)), "found uint16"),
    "sixteen bits.png": (picture(GRAY.astype(np.uint16) * 256), "found 16 bits"),
    "sixteen bits.tif": (picture(GRAY.astype(np.uint16) * 256, "TIFF"), "found 16-bit integers"),
    "float.tif": (picture(GRAY.astype(np.float32), "TIFF"), "found 32-bit floating point"),
    "nan.npy": (npy(np.full((60, 90, 3), np.nan, np.float32)), "found float32"),
    "nothing.npy": (npy(GRAY[:0, :0]), "found 0 x 0"),
    "no rows.npy": (npy(GRAY[:0]), "found 0 x 90"),
    "huge.npy": (npy_header(30_000, 30_000, 3), "found 30000 x 30000 pixels"),
    "huge.png": (png_header(30_000, 30_000), "found 30000 x 30000 pixels"),
    "cut.png": (picture(GRAY)[:200], "damaged or truncated"),
    "cut.jpg": (picture(GRAY, "JPEG")[:400], "damaged or truncated"),
    "cut.npy": (npy(GRAY)[:-5], "bytes"),
    "text.png": (b"this is no picture", "content that begins with"),
    "empty.png": (b"", "an empty file"),
    "objects.npy": (npy(np.array([{}])), "pickled Python objects"),
    "picture.bmp": (picture(GRAY, "BMP"), "the suffix “.bmp”"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_an_image_that_no_model_should_see(segment: Refused, tmp_path: Path, name: str) -> None:
    data, words = BAD_IMAGES[name]
    (tmp_path / name).write_bytes(data)
    line = segment(ExitCode.USAGE, tmp_path / name, *BOX)
    assert words in line
    assert name in line


def test_an_image_that_is_not_there_or_is_a_folder(segment: Refused, tmp_path: Path) -> None:
    assert "none.png" in segment(ExitCode.ENVIRONMENT, tmp_path / "none.png", *BOX)
    assert "a folder" in segment(ExitCode.ENVIRONMENT, tmp_path, *BOX)


def test_two_images_of_one_name(segment: Refused, image: Path) -> None:
    assert "rename one" in segment(ExitCode.USAGE, image, image, *BOX)


@pytest.mark.parametrize(
    ("array", "words"), [(GRAY[:9], "60 x 90"), (GRAY * 0, "background only"), (CHANNELS[4], "one channel")]
)
def test_a_reference_mask_that_gives_no_boxes(
    segment: Refused, image: Path, tmp_path: Path, array: AnyArray, words: str
) -> None:
    PIL.Image.fromarray(array).save(tmp_path / "mask.png")
    line = segment(ExitCode.USAGE, image, "--boxes-from", tmp_path / "mask.png")
    assert words in line
    assert "mask.png" in line


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "altered":
            middle = len(data) // 2
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("how", ["missing", "truncated", "altered"])
@pytest.mark.parametrize("file", ["manifest.json", "graphs/*", "golden/*", "records/*"])
def test_a_bundle_with_a_damaged_file(
    refused: Refused, segment: Refused, own_bundle: Path, file: str, how: str
) -> None:
    damage(sorted(own_bundle.glob(file))[0], how)
    before = content(own_bundle)
    line = refused(ExitCode.ARTEFACT, "inspect", own_bundle)
    for verb in ("verify", "bench"):
        assert refused(ExitCode.ARTEFACT, verb, own_bundle, "--backend", "fake") == line
    # The bundle is looked at before the images are.
    assert segment(ExitCode.ARTEFACT, own_bundle / "no.png", *BOX, bundle=own_bundle) == line
    assert content(own_bundle) == before


@pytest.mark.parametrize(
    ("name", "words"), [("none", "nothing at"), ("empty", "the empty folder"), ("graph.onnx", "has no profile")]
)
def test_what_is_no_bundle(refused: Refused, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "graph.onnx").write_bytes(b"onnx")
    assert words in refused(ExitCode.ARTEFACT, "inspect", tmp_path / name)


def test_a_bundle_that_was_swapped_for_another_graph(refused: Refused, own_bundle: Path) -> None:
    first, second = (own_bundle / "graphs").iterdir()
    first.write_bytes(second.read_bytes())
    assert "as exported" in refused(ExitCode.ARTEFACT, "inspect", own_bundle)


def test_a_full_disk(segment: Refused, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "write", full)
    assert "free some space" in segment(ExitCode.ENVIRONMENT, image, *BOX)


def test_a_file_where_the_results_should_go(refused: Refused, tiny_bundle: Path, image: Path) -> None:
    before = content(image.parent)
    words = ("segment", tiny_bundle, image, *BOX, "--backend", "fake", "--out", image)
    assert "a file is in the way" in refused(ExitCode.ENVIRONMENT, *words)
    assert content(image.parent) == before


@pytest.mark.parametrize("split", [(), ("--split", "test")])
def test_cases_that_are_none(refused: Refused, tiny_bundle: Path, tmp_path: Path, split: tuple[str, ...]) -> None:
    words = ("verify", tiny_bundle, "--backend", "fake", "--cases", tmp_path)
    assert "*.npz" in refused(ExitCode.USAGE, *words, *split)


def test_a_backend_that_nobody_knows(refused: Refused, tiny_bundle: Path) -> None:
    for verb in ("verify", "bench"):
        assert "'nonsense'" in refused(ExitCode.USAGE, verb, tiny_bundle, "--backend", "nonsense")
