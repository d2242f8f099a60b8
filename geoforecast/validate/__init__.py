"""validate: how good the forecast is, where and how far ahead, beside simple forecasts.

::

    from geoforecast.validate import skill_table, validate_run
    result = validate_run(project, project.settings("validate"))
    print(skill_table(result), result.sentence, sep="\\n\\n")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoforecast.validate.verb import ValidateResult, skill_table, validate_run

__all__ = ["ValidateResult", "skill_table", "validate_run"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `geoforecast --help` needs neither torch nor rasterio.
    if name in __all__:
        from geoforecast.validate import verb

        return getattr(verb, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
