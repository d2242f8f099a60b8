"""Named bundles of settings: what `--preset NAME` puts in the place of defaults.

What a flag, a variable or geoforecast.toml says wins over the preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoforecast.errors import SettingsError, did_you_mean

# Section -> preset -> field -> value.
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "train": {
        # Counts of crimes by type on a grid, day by day, as published: log(1 + count), two
        # ConvLSTM layers of 32 channels with batch normalisation, Adam on the squared error of
        # the whole raster, and the historical average as the yardstick. Only the shape of the
        # learning rate (warm-up and cosine) and the averaged weights are ours.
        "crime-grid": {
            "model": "crime_grid",
            "kind": "count",
            "reference": "mean",
            "loss": "mse",
            "lookback": 6,
            "horizon": 1,
            "hidden": 32,
            "layers": 2,
            "kernel": 3,
            "epochs": 150,
            "patience": 15,
            "batch_size": 4,
            "patch": 128,
            "lr": 1e-4,
            "members": 1,
            "weight_decay": 0.0,
        },
    },
}


def preset_names(section: str) -> tuple[str, ...]:
    """The presets of a section."""
    return tuple(PRESETS.get(section, {}))


def preset_values(section: str, name: str) -> Mapping[str, Any]:
    """The settings of a preset; none for an empty name.

    Raises:
        SettingsError: there is no such preset.
    """
    if not name:
        return {}
    known = PRESETS.get(section, {})
    if name not in known:
        raise SettingsError(f"There is no preset '{name}'.", remedy=did_you_mean(name, known))
    return known[name]
