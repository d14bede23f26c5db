"""TOPPRA without its plots: it imports pyplot together with itself, which is 40 % of the time that the broker takes to start."""

import sys
from types import ModuleType

_PLOTTING = {name: ModuleType(name) for name in ("matplotlib", "matplotlib.pyplot") if name not in sys.modules}
if "matplotlib" in _PLOTTING:
    _PLOTTING["matplotlib"].__dict__["pyplot"] = _PLOTTING["matplotlib.pyplot"]
sys.modules.update(_PLOTTING)
try:
    import toppra
    import toppra.algorithm
    import toppra.constraint
    import toppra.solverwrapper
finally:
    # Whoever plots gets the real ones.
    for _name in _PLOTTING:
        del sys.modules[_name]

__all__ = ["toppra"]
