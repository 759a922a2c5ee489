"""Every error that medsam-edge raises on purpose, and the exit code that each one means.

    MedSAMEdgeError
    ├── UsageError            2  the request cannot be meant this way
    │   ├── ImageError           an image that no model should see as it is
    │   │   └── DicomError           a DICOM file or series that cannot be read as it means itself
    │   ├── BoxError             a box that names no region of its image
    │   ├── CaseError            a case folder or a case that cannot be used
    │   ├── VolumeError          a volume that cannot be read, or that no model should see as it is
    │   └── CancelledError       the caller asked for the work to stop
    ├── MachineError          3  this machine lacks something
    │   ├── MissingExtraError    a Python package that an extra installs
    │   ├── DriverError          no NVIDIA driver or GPU that answers
    │   ├── BackendError         an inference library that failed while it ran
    │   │   └── DeviceLostError     a GPU that this process cannot use any more
    │   └── StorageError         a path that cannot be read or written, a full disk
    ├── ParityError           4  the masks are not the same any more
    ├── SpeedError            5  a speed gate failed
    ├── ArtefactError         6  an artefact that is incompatible, incomplete or was tampered with
    │   ├── CheckpointError
    │   ├── BundleError
    │   ├── EngineError          an engine that is missing, damaged or of another device
    │   └── DicomSegError        a DICOM SEG that does not give back the masks it was made of
    ├── DeviceMemoryError     7
    │   └── WorkspaceError       a limit that was set is too small, not the memory
    └── MeasurementError      8  the measurement itself is invalid or inconclusive

A message has three parts, so that no writer of an error can forget one: what was expected, what was found, how
to mend it.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The process exit codes, part of the public contract (docs/exit-codes.md)."""

    OK = 0
    USAGE = 2
    ENVIRONMENT = 3
    PARITY = 4
    SPEED = 5
    ARTEFACT = 6
    OUT_OF_MEMORY = 7
    MEASUREMENT = 8


def one_line(text: str) -> str:
    """Keep a text one line of printable characters: names from a hostile file could steer the terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))


class MedSAMEdgeError(Exception):
    """Base of the family: catch this one to catch them all.

    Args:
        expected: What would have been right, as a noun phrase ("a box inside the 256 x 256 image").
        found: What was there instead, with the offending value.
        remedy: What the person can do now, as an imperative without a final stop.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.expected, self.found, self.remedy = (one_line(part) for part in (expected, found, remedy))
        super().__init__(f"expected {self.expected}; found {self.found}. To mend it: {self.remedy}.")

    def __reduce__(self) -> tuple[type["MedSAMEdgeError"], tuple[str, str, str]]:
        """Keep the three parts when an error crosses a process border."""
        return type(self), (self.expected, self.found, self.remedy)


class UsageError(MedSAMEdgeError):
    """The request itself is wrong."""


class ImageError(UsageError):
    """An image whose dtype, shape, size or values the profile does not accept."""


class DicomError(ImageError):
    """A DICOM file or series that is damaged, incomplete, irregular, too large or of an unknown kind."""


class BoxError(UsageError):
    """A box that is not a finite, non-empty, ordered rectangle inside its image."""


class CaseError(UsageError):
    """A case (image, boxes, reference masks) that cannot be read or used."""


class VolumeError(UsageError):
    """A volume whose file, axes, values or geometry cannot be used."""


class CancelledError(UsageError):
    """The caller asked for the work to stop; no result was written."""


class MachineError(MedSAMEdgeError):
    """This machine lacks what the request needs."""

    exit_code = ExitCode.ENVIRONMENT


class MissingExtraError(MachineError):
    """A package is absent; the message names the extra that installs it."""


class BackendError(MachineError):
    """An inference library failed while it computed: a lost device, a driver, a bug."""


class DriverError(MachineError):
    """There is no NVIDIA driver here, or no GPU that answers it."""


class DeviceLostError(BackendError):
    """A fault that CUDA keeps: no call of this process reaches the GPU any more; a new process may."""


class StorageError(MachineError):
    """A path cannot be read or written, or the disk is full."""


class ParityError(MedSAMEdgeError):
    """The deployed model draws other masks than its source."""

    exit_code = ExitCode.PARITY


class SpeedError(MedSAMEdgeError):
    """A speed gate failed."""

    exit_code = ExitCode.SPEED


class ArtefactError(MedSAMEdgeError):
    """A file made by a machine is not what it claims to be."""

    exit_code = ExitCode.ARTEFACT


class CheckpointError(ArtefactError):
    """A checkpoint that is damaged, unsafe or of an unknown architecture."""


class BundleError(ArtefactError):
    """A bundle with a missing, damaged, altered or unlisted part."""


class EngineError(ArtefactError):
    """An engine that is not here, is damaged, or was built for another device or library."""


class DicomSegError(ArtefactError):
    """A DICOM SEG that, read back, has other voxels, places or references than it was written from."""


class DeviceMemoryError(MedSAMEdgeError):
    """The device ran out of memory."""

    exit_code = ExitCode.OUT_OF_MEMORY


class WorkspaceError(DeviceMemoryError):
    """An operator needs more memory than the limit that somebody set."""


class MeasurementError(MedSAMEdgeError):
    """The measurement is invalid or cannot decide."""

    exit_code = ExitCode.MEASUREMENT
