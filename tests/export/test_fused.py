"""That operators are written as runtimes fuse them, and mean what PyTorch's mean."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxscript
import pytest
import torch
from medsam_edge.export.fused import gelu
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.variants import chosen, export_graphs
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import AnyArray


def optimised(data: bytes, folder: Path) -> list[str]:
    """Return the operators that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_onnx_runtime_runs_each_gelu_as_one_operator(sam: Sam, tmp_path: Path, part: str) -> None:
    graph = chosen(export_graphs(sam, medsam(sam.config.image_size), ["onnxruntime"]), part, "fp32", "onnxruntime")
    written = [node.op_type for node in onnx.load_from_string(graph.data).graph.node]
    ran = optimised(graph.data, tmp_path)
    assert ran.count("Gelu") == written.count("Erf") > 0
    assert "Erf" not in ran


def test_the_exporters_own_way_is_why(sam: Sam, tmp_path: Path) -> None:
    """Should this fail one day, `fused.gelu` has lost its reason."""
    graphs = export_graphs(sam, medsam(sam.config.image_size), ["onnxruntime"], "plain")
    assert "Erf" in optimised(chosen(graphs, "encoder", "fp32", "onnxruntime").data, tmp_path)


def eager(x: AnyArray) -> AnyArray:
    found: AnyArray = gelu(onnxscript.tensor.Tensor(x)).value
    return found


@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 1e-6), (np.float16, 4e-3)])
def test_gelu_is_pytorchs(dtype: type, limit: float) -> None:
    x = np.linspace(-9, 9, 4001, dtype=dtype)
    exact = torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    assert np.abs(eager(x) - exact).max() <= limit


def test_the_upper_half_of_float16s_range_does_not_overflow() -> None:
    assert eager(np.array([60000], np.float16))[0] == np.float16(60000)
