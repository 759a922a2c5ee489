"""Which precisions are tried, on a processor with bf16 and on one without."""

from collections.abc import Callable

import pytest
from medsam_edge.calibration import wanted as module
from medsam_edge.calibration.plan import Plan
from medsam_edge.calibration.wanted import wanted
from medsam_edge.runtime.errors import ExitCode, MachineError, MissingExtraError

Here = Callable[..., None]
INT8, MIXED, BF16 = "openvino:CPU:int8", "openvino:CPU:int8+bf16", "openvino:CPU:bf16"
WIDE, BOTH = f"{INT8}, attention too", f"{MIXED}, attention too"


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch, here: Here) -> Callable[..., None]:
    """Pretend to have these features, and both libraries."""
    here("openvino", "onnxruntime")

    def pretend(*features: str) -> None:
        monkeypatch.setattr(module, "processor_features", lambda: ("avx2", *features))

    return pretend


@pytest.mark.parametrize(("plan", "feature", "names"), [
    (Plan(), "avx512_bf16", (BF16, INT8, MIXED, WIDE, BOTH)),
    (Plan(), "amx_bf16", (BF16, INT8, MIXED, WIDE, BOTH)),
    (Plan(), "avx512_vnni", (INT8, WIDE)),
    (Plan(precision="int8"), "avx512_bf16", (INT8, MIXED, WIDE, BOTH)),
    (Plan(precision="int8+bf16"), "avx512_bf16", (MIXED, BOTH)),
    (Plan(precision="bf16"), "avx512_bf16", (BF16,)),
    (Plan("onnxruntime"), "avx512_bf16", ("onnxruntime:CPU:int8",)),
])  # fmt: skip
def test_the_widest_comes_first_and_bf16_only_where_the_processor_has_it(
    processor: Callable[..., None], plan: Plan, feature: str, names: tuple[str, ...]
) -> None:
    processor(feature)
    assert tuple(map(str, wanted(plan))) == names


@pytest.mark.parametrize("precision", ["bf16", "int8+bf16"])
def test_bf16_by_name_needs_a_processor_that_has_it(processor: Callable[..., None], precision: str) -> None:
    processor("avx512_vnni")
    with pytest.raises(MachineError, match="amx_bf16 or avx512_bf16") as caught:
        wanted(Plan(precision=precision))
    assert caught.value.exit_code == ExitCode.ENVIRONMENT


def test_a_library_that_is_not_here_is_named(here: Here) -> None:
    here("onnxruntime")
    with pytest.raises(MissingExtraError, match="openvino"):
        wanted(Plan())
