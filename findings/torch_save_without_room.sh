#!/usr/bin/env bash
# torch.save to a path where no room is left raises a RuntimeError that names no reason.
#
# Versions: torch 2.13.0, numpy 2.4.0; Python 3.11.
# Expected: as for open(path, "wb").write(...), an OSError with its errno (ENOSPC, EDQUOT, EFBIG), so
#   that a training script can tell a full disk from a fault in what it saves.
# Happens: RuntimeError "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598", no
#   errno, and no OSError among its causes; a checkpoint of a Trainer on a full disk ends the same
#   way.
# A limit on the size of files stands for the full disk, since that needs no file system of its own.
#
# Seen:
#   torch 2.13.0
#   open().write        OSError errno 27: [Errno 27] File too large
#   torch.save(path)    RuntimeError errno None: [enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598
#   causes              RuntimeError
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0

cat > "$work/run.py" <<'PYTHON'
import resource
import sys

import torch

work = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
weights = {"weight": torch.zeros(1_000_000)}


def error_of(save):
    try:
        save()
    except Exception as error:
        return error
    raise SystemExit("CHANGED: no error at all")


def write():
    with open(f"{work}/bytes", "wb") as file:
        file.write(bytes(4_000_000))


def line(what, error):
    print(f"{what:<19} {type(error).__name__} errno {getattr(error, 'errno', None)}: {error}")


print("torch", torch.__version__)
plain = error_of(write)
by_path = error_of(lambda: torch.save(weights, f"{work}/path"))
line("open().write", plain)
line("torch.save(path)", by_path)
causes, cause = [], by_path.__cause__ or by_path.__context__
while cause is not None:
    causes.append(cause)
    cause = cause.__cause__ or cause.__context__
print(f"{'causes':<19} {', '.join(type(one).__name__ for one in causes) or None}")
assert isinstance(plain, OSError), "CHANGED: Python itself"
assert type(by_path) is RuntimeError, "CHANGED: the class of the error"
assert not any(isinstance(one, OSError) for one in causes), "CHANGED: the reason is given"
assert "File too large" not in str(by_path), "CHANGED: the reason is given"
PYTHON
"$work/venv/bin/python" "$work/run.py" "$work"
