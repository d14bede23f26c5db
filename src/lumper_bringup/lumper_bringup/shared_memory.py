"""Gives back the shared memory that killed nodes left behind.

Fast DDS keeps some 35 MB per participant under /dev/shm and removes them at an orderly end only; its own remedy is the command
`fastdds shm clean`, which the wheels do not have. As there, the file lock tells whether an owner still lives: the kernel drops
it with the process.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

FOLDER = Path("/dev/shm")
# Between the making of a lock file and its locking passes a moment.
_YOUNG_S = 5.0


def release_abandoned(folder: Path = FOLDER, now_s: float | None = None) -> list[str]:
    """Remove the segments and ports of Fast DDS that no process holds any more; returns their names.

    Args:
        now_s: time since the epoch; None = now. Files made in the last seconds before it stay.
    """
    now_s = time.time() if now_s is None else now_s
    released = []
    for lock in sorted(folder.glob("fastdds_*_el")):
        with contextlib.suppress(OSError):
            if now_s - lock.stat().st_mtime < _YOUNG_S:
                continue
            descriptor = os.open(lock, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                name = lock.name.removesuffix("_el")
                for path in (folder / name, folder / f"sem.{name}_mutex", lock):
                    path.unlink(missing_ok=True)
                released.append(name)
            finally:
                os.close(descriptor)
    return released
