"""Put all that geoforecast needs into a folder, for clusters without internet.

    python examples/offline/pack.py WHEELS [TORCH]

Where there is internet, on the cluster's own kind of system and Python version: builds
geoforecast, fetches the wheels of its dependencies by constraints.txt, and writes
requirements.lock beside them, with a hash of each. TORCH names another build than the pinned one
for CPUs, such as `torch==2.13.0+cu128`; options for pip, such as PIP_EXTRA_INDEX_URL, are taken
from the environment. On the cluster, with the folder copied there:

    python3 -m venv env
    env/bin/pip install --no-index --find-links WHEELS --require-hashes -r WHEELS/requirements.lock
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements.lock"
# What a build of torch asks for in versions of its own.
OF_TORCH = ("torch", "sympy", "mpmath", "networkx", "fsspec", "setuptools")


def pack(folder: Path, torch: str = "") -> None:
    """Fill a new folder with wheels, and lock them."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    torch = torch or next(pin for pin in pins if pin.startswith("torch=="))
    folder.mkdir(parents=True)
    constraints = folder / "constraints.txt"
    kept = [pin for pin in pins if pin.split("==")[0] not in OF_TORCH]
    constraints.write_text("\n".join([*kept, torch]) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "wheel", "--wheel-dir", str(folder)]
    command += ["-c", str(constraints), torch, f"{ROOT}[dask,tensorboard]"]
    subprocess.run(command, check=True)
    constraints.unlink()
    (folder / LOCK).write_text(lock(folder), encoding="utf-8")


def lock(folder: Path) -> str:
    """One line a wheel: name, version and hash, as pip's --require-hashes reads them."""
    lines = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return "\n".join(sorted(lines)) + "\n"


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    pack(Path(sys.argv[1]), *sys.argv[2:])
    print(f"{sys.argv[1]}/{LOCK}")
