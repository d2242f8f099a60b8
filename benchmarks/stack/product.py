"""geoforecast as a contender: the command line's own code, its imports timed apart.

    python benchmarks/stack/product.py SCENES/work.json OUT REPORT.json [--zscored]
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from work import THREADS, UNUSABLE, load_work

# A mask pixel is two target pixels wide.
MASK_PX = 2


def arguments(work_path: Path, project: Path) -> list[str]:
    """The command line after ``geoforecast``."""
    work = load_work(work_path)
    return [
        "-q",
        *("-p", str(project), "stack", work.folder),
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
    work_path, out, report = (Path(word) for word in sys.argv[1:4])
    started = time.perf_counter()
    import geoforecast.raster.cube
    import geoforecast.stack  # noqa: F401
    from geoforecast.cli import cli
    from geoforecast.samples.normaliser import from_meta

    imported = time.perf_counter()
    cli.main(arguments(work_path, out), "geoforecast", standalone_mode=False)
    seconds = time.perf_counter() - imported
    cube = geoforecast.raster.cube.open_cube(out / "cube.zarr")
    content = {"imports_s": imported - started, "work_s": seconds, "array": "cube.zarr/values"}
    if "--zscored" in sys.argv:
        import zarr
        from zscore import write_zscored

        started = time.perf_counter()
        normaliser, _ = from_meta(cube.meta["normaliser"])
        write_zscored(
            zarr.open_array(out / "cube.zarr" / "values", mode="r"),
            out / "zscored.zarr",
            normaliser.centre,
            normaliser.scale,
        )
        content["work_s"] = seconds + time.perf_counter() - started
    report.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
