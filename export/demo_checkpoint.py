"""Where the packaged demo checkpoint lies. Its model card is beside it."""

from pathlib import Path

from ..runtime.errors import StorageError

DEMO_NAME = "demo"


def demo_checkpoint() -> Path:
    """Return the path of the packaged checkpoint.

    Raises:
        StorageError: If the installation lacks it.
    """
    path = Path(__file__).parent / "demo" / "medsam_demo.safetensors"
    if not path.is_file():
        raise StorageError("the packaged demo checkpoint", f"none at {path}", "install medsam-edge again")
    return path


def checkpoint_path(text: str) -> Path:
    """Turn what a person typed into a path; the word `demo` means the packaged checkpoint."""
    return demo_checkpoint() if text == DEMO_NAME else Path(text)
