"""Where the module under test is: the build folder (ctest) before what is installed."""

import importlib.util
import os
import sys
from pathlib import Path

BUILD = os.environ.get("LUMPER_CORE_BUILD")
if BUILD:
    # The package's Python files live in the sources, its native part in the build folder.
    package = Path(__file__).resolve().parents[1] / "python" / "lumper_core"
    native = next(Path(BUILD).glob("_core*.so"))
    spec = importlib.util.spec_from_file_location("lumper_core._core", native)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lumper_core._core"] = module
    spec.loader.exec_module(module)
    sys.path.insert(0, str(package.parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmark"))
