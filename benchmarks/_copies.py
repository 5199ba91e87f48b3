"""Copy a model folder several times, every file synced to disk: what writing alone takes.

usage: python _copies.py MODEL OUT COUNT
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def main() -> None:
    source, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for number in range(count):
        folder = out / str(number)
        folder.mkdir(parents=True)
        for path in source.iterdir():
            # Not shutil.copyfile, which on some file systems copies nothing but a reference.
            with path.open("rb", buffering=0) as file, (folder / path.name).open("wb", 0) as copy:
                shutil.copyfileobj(file, copy, 1 << 24)
                os.fsync(copy.fileno())


if __name__ == "__main__":
    main()
