"""geoforecast as a contender: the command line's own code, its imports timed apart.

    python benchmarks/stack/product.py REPORT.json [--zscored] -- WORDS OF THE COMMAND LINE

With --zscored the cube is read again and written z-scored, as a peer that normalises eagerly
would leave it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from work import THREADS, UNUSABLE, Work

# A mask pixel is two target pixels wide.
MASK_PX = 2


def command_line(work: Work, project: Path) -> list[str]:
    """The words after ``geoforecast`` that do the work."""
    return [
        *("-q", "-p", str(project), "stack", work.folder),
        *("--sensor", "none", "--mask", "scl"),
        *("--mask-values", ",".join(map(str, UNUSABLE))),
        *("--dilate", str(work.dilate_px // MASK_PX)),
        *("--crs", work.crs, "--res", f"{work.res:g}"),
        *("--bounds", ",".join(f"{edge:g}" for edge in work.bounds)),
        *("--resampling", "bilinear"),
        *("--test", "1", "--validation", "1"),
        *("--jobs", str(THREADS)),
    ]


def main() -> None:
    """Stack once and write what it took."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as geoforecast.__main__ does
    report, words = Path(sys.argv[1]), sys.argv[sys.argv.index("--") + 1 :]
    project = Path(words[words.index("-p") + 1])
    started = time.perf_counter()
    import geoforecast.stack.verb  # noqa: F401
    from geoforecast.cli import cli

    imported = time.perf_counter()
    cli.main(words, "geoforecast", standalone_mode=False)
    if "--zscored" in sys.argv[: sys.argv.index("--")]:
        _zscored(project)
    content = {
        "imports_s": imported - started,
        "work_s": time.perf_counter() - imported,
        "array": "cube.zarr/values",
    }
    report.write_text(json.dumps(content), encoding="utf-8")


def _zscored(project: Path) -> None:
    import zarr
    from zscore import write_zscored

    from geoforecast.raster.cube import open_cube
    from geoforecast.samples.normaliser import from_meta

    cube = open_cube(project / "cube.zarr")
    normaliser, _ = from_meta(cube.meta["normaliser"])
    values = zarr.open_array(cube.path / "values", mode="r")
    write_zscored(values, project / "zscored.zarr", normaliser.centre, normaliser.scale)


if __name__ == "__main__":
    main()
