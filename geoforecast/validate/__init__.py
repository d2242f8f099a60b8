"""validate: how good the forecast is, where and how far ahead, beside simple forecasts.

::

    from geoforecast.validate import skill_table, validate_run
    result = validate_run(project, project.settings("validate"))
    print(skill_table(result), result.sentence, sep="\\n\\n")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoforecast.validate.result import ValidateResult, skill_table
    from geoforecast.validate.verb import (
        comparison_name,
        validate_cubes,
        validate_folds,
        validate_issued,
        validate_run,
    )

__all__ = [
    "ValidateResult",
    "comparison_name",
    "skill_table",
    "validate_cubes",
    "validate_folds",
    "validate_issued",
    "validate_run",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `geoforecast --help` needs neither torch nor rasterio.
    if name in __all__:
        from geoforecast.validate import result, verb

        return getattr(verb if hasattr(verb, name) else result, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
