"""DICOM in and out, with pydicom and highdicom: the extra `dicom`. Importing this package alone loads neither.

from medsam_edge.runtime.dicom import Algorithm, Segment, read_series, write_seg

series = read_series("scan/")                  # one series, in order; decodes nothing
series.values(12)                              # (H, W), Hounsfield units for CT
written = write_seg("liver.dcm", series, labels, [Segment("Liver")], Algorithm("my model"))
"""

from typing import TYPE_CHECKING, Any

from .magic import is_dicom

if TYPE_CHECKING:
    from .reading import read_series
    from .seg_read import read_seg
    from .seg_write import write_seg
    from .segments import Algorithm, Code, Segment
    from .series import Series

__all__ = [
    "Algorithm",
    "Code",
    "Segment",
    "Series",
    "is_dicom",
    "read_seg",
    "read_series",
    "write_seg",
]

_HOMES = {
    "Algorithm": "segments",
    "Code": "segments",
    "Segment": "segments",
    "Series": "series",
    "read_seg": "seg_read",
    "read_series": "reading",
    "write_seg": "seg_write",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Load what needs the extra when it is asked for.

    Raises:
        MissingExtraError: The extra is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from ..doctor import require_extra

    require_extra("dicom")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
