"""What is verified: forecasts beside what came, whoever made them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from geoforecast.forecast.outcome import Hindcast
from geoforecast.forecast.series import Series
from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.samples.split import Split


class Source(Protocol):
    """Forecasts of past steps; a run's engine is one, two folders of GeoTIFFs are another."""

    @property
    def cube(self) -> Cube:
        """What came, on the grid of everything."""

    @property
    def series(self) -> Series:
        """The same, as forecasts see it."""

    @property
    def split(self) -> Split:
        """Whose test steps are scored."""

    @property
    def horizon(self) -> int:
        """The longest lead."""

    @property
    def band_names(self) -> tuple[str, ...]:
        """Of what is forecast."""

    @property
    def units(self) -> tuple[str, ...]:
        """Of each band."""

    @property
    def statistics(self) -> list[BandStatistics]:
        """Of each band: of training steps, or of all that was observed where none is training."""

    @property
    def methods(self) -> tuple[str, ...]:
        """``forecast`` first, then what it is compared with."""

    @property
    def reference(self) -> str:
        """The simple forecast that the forecast corrects; "" if none is known."""

    @property
    def yardstick(self) -> str:
        """The reference that maps are drawn against."""

    @property
    def blend(self) -> tuple[float, ...]:
        """Weight of a learned correction, by lead; () if none is known."""

    @property
    def has_intervals(self) -> bool:
        """Whether hindcasts can have ends of an interval."""

    @property
    def has_probabilities(self) -> bool:
        """Whether forecasts are of yes or no, or of classes: probabilities, or maps of them."""

    @property
    def decision(self) -> tuple[tuple[float, ...], ...]:
        """How probabilities become a map, by lead; see kinds.decided. () of what is one already."""

    @property
    def fingerprint(self) -> str:
        """Of the data."""

    def hindcasts(
        self, tile: Tile, steps: range, level: float = 0.0, *, likely: int = 0
    ) -> Iterator[Hindcast]:
        """Forecasts of some steps of a tile at every lead, in the order of time at each lead."""
