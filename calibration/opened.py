"""Opens an encoder that is in no bundle yet beside the bundle's decoder. It loads what a device loads, and no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from ..runtime.backends.base import BackendChoice, GraphSource
from ..runtime.bundle import Bundle
from ..runtime.contract import check_contract
from ..runtime.files import temporary_folder, write_atomic
from ..runtime.loading import entry_of, load, predictor_of
from ..runtime.predictor import Predictor
from ..runtime.profile import Profile


@contextmanager
def opened(bundle: Bundle, choice: BackendChoice, encoder: bytes | None) -> Iterator[Predictor]:
    """Open an encoder that is in no bundle yet beside the bundle's decoder, or the bundle's own encoder."""
    if encoder is None:
        with load(bundle, str(choice)) as predictor:
            yield predictor
        return
    with temporary_folder() as folder, beside(bundle, choice, *stored(encoder, folder)) as predictor:
        yield predictor


def stored(encoder: bytes, folder: Path) -> tuple[Path, str]:
    """Write an encoder's ONNX file into a folder; return where, and its SHA-256.

    Raises:
        StorageError: If it cannot be written.
    """
    path = folder / "encoder.onnx"
    write_atomic(path, encoder)
    return path, sha256(encoder).hexdigest()


def beside(bundle: Bundle, choice: BackendChoice, encoder: Path, digest: str) -> Predictor:
    """Open an encoder's ONNX file beside the bundle's decoder.

    Args:
        bundle: Its decoder and profile.
        choice: The backend, with the precision of the graph.
        encoder: The file, with the encoder's interface.
        digest: Its SHA-256.

    Raises:
        BundleError: The bundle has no decoder for the backend, or the file is no such encoder.
        BackendError: The backend cannot open it.
    """
    profile = Profile.from_dict(bundle.manifest.profile)
    parts = check_contract(bundle.manifest, profile)
    decoder = entry_of(bundle, "decoder", choice)
    sources = {
        "encoder": GraphSource(encoder, parts["encoder"], digest),
        "decoder": GraphSource(bundle.root / decoder.file, parts["decoder"], decoder.sha256),
    }
    return predictor_of(profile, sources, choice, trained=bundle.manifest.model.trained)
