"""Cases of every description, without pixels: sampling, splitting and overlap look at nothing else."""

from collections.abc import Callable
from typing import TypeAlias

import pytest
from medsam_edge.calibration.case_set import CaseRef

MakeRef: TypeAlias = Callable[..., CaseRef]


@pytest.fixture
def ref() -> MakeRef:
    def make(
        name: str, modality: str = "CT", patient: str | None = None, pixels: str | None = None, size: str = "small"
    ) -> CaseRef:
        """A case whose patient is named only where one is given, and whose pixels are its own unless they are given."""
        return CaseRef(
            id=name,
            modality=modality,
            patient=patient or name,
            patient_named=patient is not None,
            pixel_sha256=pixels or f"pixels of {name}",
            file_sha256=f"file of {name}",
            objects=1,
            size=size,
            origin=0,
        )

    return make
