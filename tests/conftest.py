"""Let pytest run from a bare checkout, where the repository root is the package."""

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).parents[1]

if find_spec("medsam_edge") is None:
    spec = spec_from_file_location("medsam_edge", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec
    assert spec.loader
    sys.modules["medsam_edge"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["medsam_edge"])
