"""The work that every contender does, as data: written beside the scenes, read by each process.

Only the standard library is imported here, because the contenders' environments differ.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

BANDS = ("B02", "B03", "B04", "B08")
MASK = "SCL"
UNUSABLE = (0, 3, 8, 9, 10)
THREADS = 2


@dataclasses.dataclass(frozen=True)
class Work:
    """From a folder of scenes to one array.

    Attributes:
        folder: of the scenes.
        dates: as in the file names, YYYYMMDD, ascending.
        tiles: tile name of each date; the files are FOLDER/S2_DATE_TILE_BAND.tif.
        crs: of the target grid.
        res: its pixel size, in metres.
        bounds: left, bottom, right, top of the target grid.
        dilate_px: target pixels by which masked areas grow; twice that of the 20 m mask.
    """

    folder: str
    dates: tuple[str, ...]
    tiles: tuple[str, ...]
    crs: str
    res: float
    bounds: tuple[float, float, float, float]
    dilate_px: int = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the target grid."""
        left, bottom, right, top = self.bounds
        return round((top - bottom) / self.res), round((right - left) / self.res)

    def path(self, step: int, band: str) -> Path:
        """The file of one date and band."""
        return Path(self.folder) / f"S2_{self.dates[step]}_{self.tiles[step]}_{band}.tif"

    def item(self, step: int) -> Path:
        """The STAC item of one date."""
        return Path(self.folder) / "items" / f"S2_{self.dates[step]}_{self.tiles[step]}.json"

    def files(self) -> list[Path]:
        """Every file of pixels."""
        return [self.path(step, band) for step in range(len(self.dates)) for band in (*BANDS, MASK)]

    def save(self) -> Path:
        """Write work.json into the folder."""
        path = Path(self.folder) / "work.json"
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")
        return path


def load_work(path: Path) -> Work:
    """What ``Work.save`` wrote."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    settled: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return Work(**settled)
