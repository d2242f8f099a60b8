"""What a forecast's folder says of itself: a STAC item a valid time, and a catalogue of them.

All links and files are told relative to the folder, which can be moved as a whole. It is a
catalogue and no collection, for a collection must name a licence, which is the user's to choose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoforecast.predict.layers import is_class_map, layer_bands, layer_type
from geoforecast.predict.plan import Plan
from geoforecast.raster.globe import Footprint, footprint
from geoforecast.raster.stac import iso, moment, projection

if TYPE_CHECKING:
    import pystac

CATALOGUE = "catalog.json"  # the name by which STAC browsers look for it
FORECAST_EXTENSION = "https://stac-extensions.github.io/forecast/v0.2.0/schema.json"
TITLES = {
    "forecast": "Forecast",
    "lower": "Lower end of the interval",
    "upper": "Upper end of the interval",
    "probability": "Probability of each class",
}


def write_catalogue(plan: Plan, folder: Path) -> None:
    """Write an item for each valid time and the catalogue that lists them.

    Args:
        plan: the forecast.
        folder: where its files lie.
    """
    import pystac  # needed at this moment only
    from pystac.layout import AsIsLayoutStrategy

    init = iso(plan.init_time)
    names = [Path(plan.name("forecast", lead)).stem for lead in range(1, len(plan.times) + 1)]
    catalogue = pystac.Catalog(
        id=f"{plan.settings.run}_{plan.folder.name}",
        title=f"Forecasts of {', '.join(plan.engine.series.cube_bands)} from {init}",
        description=f"What the run '{plan.settings.run}' forecasts from {init} on, one item a "
        "valid time.",
    )
    catalogue.set_self_href(str(folder / CATALOGUE))
    outline = footprint(plan.engine.cube.grid)
    for lead, name in enumerate(names, 1):
        item = make_item(plan, lead, outline, f"{catalogue.id}_{name.partition('_')[2]}")
        item.set_self_href(str(folder / f"{name}.json"))
        catalogue.add_item(item, strategy=AsIsLayoutStrategy())
    catalogue.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)


def make_item(plan: Plan, lead: int, outline: Footprint | None, name: str) -> pystac.Item:
    """The item of one valid time.

    Args:
        plan: the forecast.
        lead: 1 or more.
        outline: of its grid; None if the grid has no place on the globe.
        name: the item's id.
    """
    import pystac
    from pystac.extensions.projection import ProjectionExtension

    grid, time = plan.engine.cube.grid, plan.times[lead - 1]
    seconds = int((time - plan.init_time).astype("timedelta64[s]").astype(np.int64))
    item = pystac.Item(
        id=name,
        geometry=None if outline is None else outline.geometry,
        bbox=None if outline is None else list(outline.bbox),
        datetime=moment(time),
        properties={
            "title": f"Forecast for {iso(time)}, {lead} step{'s' if lead > 1 else ''} ahead",
            "forecast:reference_datetime": iso(plan.init_time),
            "forecast:horizon": duration(seconds),
        },
        stac_extensions=[FORECAST_EXTENSION],
        assets={layer: _asset(plan, layer, lead) for layer in plan.layers},
    )
    ProjectionExtension.ext(item, add_if_missing=True).apply(**projection(grid))
    return item


def duration(seconds: int) -> str:
    """Seconds, 0 or more, as a duration of ISO 8601: P16D, PT5M, P1DT6H."""
    days, rest = divmod(seconds, 86400)
    parts = (rest // 3600, "H"), (rest // 60 % 60, "M"), (rest % 60, "S")
    clock = "".join(f"{number}{unit}" for number, unit in parts if number)
    if not days and not clock:
        return "PT0S"
    return f"P{f'{days}D' if days else ''}{f'T{clock}' if clock else ''}"


def _asset(plan: Plan, layer: str, lead: int) -> pystac.Asset:
    import pystac

    dtype, nodata = layer_type(plan, layer)
    bands = layer_bands(plan, layer)
    units: Sequence[str] = () if is_class_map(plan, layer) else plan.engine.units
    told: Mapping[str, Any] = {
        "data_type": dtype,
        "nodata": "nan" if math.isnan(nodata) else nodata,
        "bands": [
            {"name": band, **({"unit": unit} if unit else {})}
            for band, unit in zip(bands, units or [""] * len(bands), strict=True)
        ],
    }
    return pystac.Asset(
        href=f"./{plan.name(layer, lead)}",
        title=TITLES.get(layer, f"Draw {layer.removeprefix('sample').lstrip('0')}"),
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields=dict(told),
    )
