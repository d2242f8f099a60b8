"""The scoring pass of validate on cubes that lie there, without maps or report.

    python pass_script.py PROJECT [METHOD ...]

PROJECT holds what `validate --forecast --observed` stacked. All methods are
scored unless some are named. Prints JSON: seconds, processor time,
and scores to compare with those of the peers.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import ValidateSettings
from geoforecast.system import granted_cpus, keep_heap_small
from geoforecast.validate.pairing import pair_cubes
from geoforecast.validate.scoring.accumulate import score_raster
from geoforecast.validate.scoring.room import SPARE_BYTES, room_for
from geoforecast.validate.scoring.rows import metric_rows

COMPARED = ("rmse", "mae", "bias", "correlation", "ssim")


def main() -> None:
    """Score, and say how long it took."""
    project, jobs = Project(Path(sys.argv[1])), granted_cpus()
    keep_heap_small(jobs, SPARE_BYTES)
    roles = (project.comparison("compared", role) for role in ("forecast", "observed"))
    source = pair_cubes(*(open_cube(role.cube_path) for role in roles))
    wall, cpu = time.perf_counter(), time.process_time()
    methods = sys.argv[2:] or source.methods
    room = room_for(source, ValidateSettings().tile, jobs)
    found = score_raster(source, methods, room.side, lambda *_: None, jobs=room.jobs)
    rows = metric_rows(found)
    told = {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "scores": {
            f"{row.method}_{row.metric}": row.value for row in rows if row.metric in COMPARED
        },
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
