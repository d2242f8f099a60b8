"""item.json: the scores of a validation, and where its files lie, as a STAC item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geoforecast.raster.globe import footprint
from geoforecast.raster.stac import iso, moment, projection
from geoforecast.validate.records.account import Account, scores_of

PREFIX = "geoforecast:"  # of properties that no extension knows
FILES = {
    "report": ("report.html", "Report", "text/html", "overview"),
    "quality": ("quality.xml", "Quality, ISO 19157 in ISO 19115-3", "application/xml", "metadata"),
    "metrics": ("metrics.json", "Metrics and summary", "application/json", "data"),
    "table": ("metrics.csv", "Metrics, one a line", "text/csv", "data"),
}


def write_item(path: Path, account: Account, maps: Sequence[str]) -> None:
    """Write the item, whose files are told relative to it.

    Args:
        path: where it goes; the other files lie beside it.
        account: what was found.
        maps: names of the GeoTIFFs in maps/.
    """
    import pystac  # needed at this moment only
    from pystac.extensions.projection import ProjectionExtension

    outline = footprint(account.grid)
    item = pystac.Item(
        id=account.name,
        geometry=None if outline is None else outline.geometry,
        bbox=None if outline is None else list(outline.bbox),
        datetime=None,
        start_datetime=moment(account.start),
        end_datetime=moment(account.end),
        properties={
            "title": f"Verification of the run '{account.run}', {iso(account.start)} to "
            f"{iso(account.end)}",
            "description": " ".join(account.sentences),
            **told(account),
        },
    )
    for key, (name, title, media_type, role) in FILES.items():
        item.add_asset(key, pystac.Asset(f"./{name}", title, media_type=media_type, roles=[role]))
    for name in maps:
        asset = pystac.Asset(f"./maps/{name}", media_type=pystac.MediaType.COG, roles=["data"])
        item.add_asset(Path(name).stem, asset)
    ProjectionExtension.ext(item, add_if_missing=True).apply(**projection(account.grid))
    item.set_self_href(str(path))
    item.save_object(include_self_link=False)


def told(account: Account) -> dict[str, Any]:
    """The properties of our own: what was scored, scores by band and metric, and criteria."""
    scores: dict[str, dict[str, list[float | None]]] = {band: {} for band in account.bands}
    for score in scores_of(account):
        scores[score.band][score.name] = [_number(row.value) for row in score.rows]
    content: dict[str, Any] = {
        "run": account.run,
        "fingerprint": account.fingerprint,
        "kind": account.kind,
        "units": dict(zip(account.bands, account.units, strict=True)),
        "leads": sorted({item.lead for item in account.summary}),
        "step": account.step,
        "scores": scores,
    }
    if account.checks:
        content["standard"] = account.checks[0].standard
        content["criteria"] = [
            {key: _number(part) for key, part in check.as_json().items() if key != "standard"}
            for check in account.checks
        ]
    return {f"{PREFIX}{name}": part for name, part in content.items()}


def _number(value: Any) -> Any:
    """A value as JSON has it: there is no NaN, and none is infinite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
