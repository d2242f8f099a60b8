"""From a folder of GeoTIFFs to the cube: dates, masks, grids, composites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoforecast.stack.result import StackResult
    from geoforecast.stack.verb import stack_scenes

__all__ = ["StackResult", "stack_scenes"]


def __getattr__(name: str) -> Any:
    # `geoforecast --help` may import this package but not rasterio.
    if name in __all__:
        from geoforecast.stack import verb

        return getattr(verb, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
