"""What the disk alone takes for as many bytes: written by the megabyte into files as large as shards, each synced.

python -m benchmarks.disk FOLDER BYTES
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.process import Stopwatch, report

_BLOCK_BYTES = 1 << 20
_FILE_BYTES = 128 << 20


def main() -> None:
    """Print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("bytes", type=int)
    how = parser.parse_args()
    watch, block, left = Stopwatch(), os.urandom(_BLOCK_BYTES), how.bytes
    path = how.folder / "disk"
    while left > 0:
        with watch.on("disk"), path.open("wb", buffering=0) as file:
            for _ in range(0, min(left, _FILE_BYTES), _BLOCK_BYTES):
                file.write(block)
            os.fsync(file.fileno())
        path.unlink()
        left -= _FILE_BYTES
    report(seconds=watch.seconds)


if __name__ == "__main__":
    main()
