"""The example series: what they hold, and that the same seed makes the same files."""

import hashlib
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "make_kinds.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("kinds")
    subprocess.run([sys.executable, SCRIPT, out], check=True, timeout=120)
    return out


def test_cover_holds_classes_that_change_into_what_they_may(made):
    paths = sorted((made / "cover").glob("*.tif"))
    assert [path.stem[-4:] for path in paths] == [str(year) for year in range(2005, 2023)]
    maps = []
    for path in paths:
        with rasterio.open(path) as file:
            assert (file.crs.to_epsg(), file.nodata, file.dtypes[0]) == (32721, 255, "uint8")
            maps.append(file.read(1))
    lakes = np.stack(maps) == 4
    assert lakes[0].any()
    assert (lakes == lakes[0]).all()  # the lake stays
    assert set(np.unique(maps)) == {1, 2, 3, 4, 5}
    assert (maps[-1] == 1).sum() < (maps[0] == 1).sum()


def test_floods_hold_yes_and_no_and_clouds(made):
    paths = sorted((made / "flood").glob("*.tif"))
    assert len(paths) == 48
    shares = []
    for path in paths:
        with rasterio.open(path) as file:
            seen = file.read(1, masked=True)
        assert set(np.unique(seen.compressed())) <= {0, 1}
        shares.append(seen.mean())
    assert np.ptp(shares) > 0.2  # it swells


def test_the_same_seed_makes_the_same_files(made, tmp_path):
    runpy.run_path(str(SCRIPT))["make_flood"](tmp_path)
    for path in tmp_path.glob("*.tif"):
        assert path.read_bytes() == (made / "flood" / path.name).read_bytes()


def test_wheels_are_locked_by_their_hashes(tmp_path):
    for name, content in (
        ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", b"t"),
        ("geoforecast-0.1.0-py3-none-any.whl", b"g"),
    ):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("no wheel")
    lock = runpy.run_path(str(SCRIPT.parent / "offline" / "pack.py"))["lock"]
    digests = [hashlib.sha256(content).hexdigest() for content in (b"g", b"t")]
    assert lock(tmp_path).splitlines() == [
        f"geoforecast==0.1.0 --hash=sha256:{digests[0]}",
        f"torch==2.13.0+cpu --hash=sha256:{digests[1]}",
    ]
