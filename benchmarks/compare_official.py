"""Count the entries in which our restored models differ from those of the official code.

usage: python benchmarks/compare_official.py --official DIR [--params 2e7] [--share 20 …]

DIR holds `param_restore.py` of github.com/UmeanNever/ParamRestore. Both restore a random pair in
float32, where hardly two changes are equal, so that the order of ties decides next to nothing: how
many entries share the key of the last one restored is printed beside the count.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from _measure import measure
from _random_pair import random_pair
from safetensors import safe_open

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, required=True, help="folder of param_restore.py")
    parser.add_argument("--params", type=float, default=2e7, help="parameters of the pair")
    parser.add_argument("--share", type=float, nargs="+", default=[1, 3, 5, 10, 20, 40, 60])
    parser.add_argument("--folder", type=Path, help="for the pair; a temporary one by default")
    parser.add_argument("--seed", type=int, default=0, help="of the pair")
    parser.add_argument("--json", type=Path, help="file to write the counts to")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="sftlens-benchmark-"))
    try:
        rows = compare(given, folder)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    print("share %  restored  tied at the cut  entries that differ")
    for row in rows:
        print(
            f"{row['share']:7g}  {row['num_restored']:8d}  {row['num_ties']:15d}"
            f"  {row['num_different']:19d}"
        )
    print(f"made by: python {shlex.join(sys.argv)}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


def compare(given: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """One row a share."""
    pair = random_pair(folder, given.params, dtype="f32", update=1e-4, seed=given.seed)
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for share in given.share:
            ours, official = Path(scratch, "ours"), Path(scratch, "official")
            restore = ["restore", str(pair.base), str(pair.tuned), "--share", f"{share:g}"]
            command = [sys.executable, "-m", "sftlens", *restore, "--out", str(ours), "--json"]
            told = json.loads(measure(command).require_success("sftlens restore").out)["outputs"][0]
            arguments = [given.official, pair.base, pair.tuned, official, share, "fp32"]
            command = [sys.executable, str(HERE / "_official.py"), *map(str, arguments)]
            measure(command).require_success("the official code")
            rows.append(
                {
                    "share": share,
                    "num_restored": told["num_restored"],
                    "num_ties": told["num_ties"],
                    "num_different": num_different(ours, official),
                }
            )
            shutil.rmtree(ours)
            shutil.rmtree(official)
    return rows


def num_different(one: Path, other: Path) -> int:
    """The number of entries whose stored bits differ; both hold the same names."""
    first, second = weights(one), weights(other)
    if set(first) != set(second):
        sys.exit(f"different tensors: {sorted(set(first) ^ set(second))[:5]}")
    return sum(
        int((first[name].view(torch.int32) != second[name].view(torch.int32)).sum())
        for name in first
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All stored tensors by their names."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


if __name__ == "__main__":
    main()
