import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from medsam_edge.benchmarks.console import explain, named, progress, say, show
from medsam_edge.runtime.errors import BoxError, BundleError, MissingExtraError, UsageError
from medsam_edge.runtime.schema import to_plain
from rich.text import Text

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Inner:
    path: Path
    values: tuple[float, ...]


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    found: dict[str, Inner | None]


OUTER = Outer("größe", Inner(Path("a/b"), (1.0, 2.5)), {"none": None})
PLAIN = {"name": "größe", "inner": {"path": "a/b", "values": [1.0, 2.5]}, "found": {"none": None}}


def test_a_result_becomes_plain_json() -> None:
    assert to_plain(OUTER) == PLAIN
    assert to_plain([OUTER, (True, 3)]) == [PLAIN, [True, 3]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", object(), {1: "a"}, [{2}]])
def test_what_json_has_no_word_for_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(BundleError, match="result"):
        to_plain(value)


def test_json_opens_with_the_verbs_schema(capsys: Capture) -> None:
    show("verb", OUTER, True, lambda: pytest.fail("no table was asked for"))
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert list(document) == ["schema", "name", "inner", "found"]
    assert document == {"schema": "medsam-edge/verb/1", **PLAIN}
    assert "größe" in out
    assert err == ""


def test_a_list_of_results_stands_under_results(capsys: Capture) -> None:
    show("verb", [OUTER.inner], True, Text)
    assert json.loads(capsys.readouterr().out) == {"schema": "medsam-edge/verb/1", "results": [PLAIN["inner"]]}


def test_tables_go_to_standard_output_and_brackets_are_no_markup(capsys: Capture) -> None:
    show("verb", OUTER, False, lambda: "pip install 'medsam-edge[ort]' [bold]x[/bold]")
    assert capsys.readouterr() == ("pip install 'medsam-edge[ort]' [bold]x[/bold]\n", "")


def test_steps_go_to_standard_error(capsys: Capture) -> None:
    say("reading")
    assert capsys.readouterr() == ("", "· reading\n")


def test_an_error_is_one_line_whatever_its_parts_hold(capsys: Capture) -> None:
    explain(BoxError("a\nbox", "two\r\nlines\tof text", "mend it"), as_json=False)
    line = "medsam-edge: expected a box; found two lines of text. To mend it: mend it.\n"
    assert capsys.readouterr() == ("", line)


def test_an_error_is_json_too_where_that_was_asked_for(capsys: Capture) -> None:
    explain(BoxError("a", "ü", "c"), as_json=True)
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert json.loads(out) == {
        "schema": "medsam-edge/error/1",
        "error": "BoxError",
        "exit_code": 2,
        "expected": "a",
        "found": "ü",
        "remedy": "c",
    }


def test_progress_leaves_nothing_in_a_log(capsys: Capture) -> None:
    with progress("working") as report:
        report("one", 0, 2)
        report("two", 2, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_bar_on_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress("working") as report:
        report("the second", 1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "1/2" in err
    assert "the second" in err


def test_no_name_means_every_backend_that_is_here(here: Callable[..., None]) -> None:
    here("openvino", "onnxruntime")
    assert named(None) == named([]) == ["openvino", "onnxruntime"]


def test_names_are_resolved_in_the_order_given(here: Callable[..., None]) -> None:
    here("openvino", "onnxruntime")
    assert named(["onnxruntime", "auto", "openvino:GPU"]) == ["onnxruntime", "openvino", "openvino:GPU"]


def test_names_that_cannot_be_served_are_refused(here: Callable[..., None]) -> None:
    here()
    with pytest.raises(MissingExtraError):
        named(None)
    with pytest.raises(MissingExtraError):
        named(["openvino"])
    with pytest.raises(UsageError):
        named(["fake", "nonsense"])
