"""Maps of classes and of what became of them, in colours that all readers tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.axes import COLOURS
from geoforecast.validate.report.pictures import Panel
from geoforecast.validate.scoring.class_parts import OUTCOMES

# One an outcome: pale where nothing happened, so that the changes stand out.
OUTCOME_COLOURS = ("#fbfbfb", "#009E73", "#E69F00", "#0072B2", "#D55E00")
OTHERS, OTHERS_COLOUR = "other classes", "#3a3a3a"
UNKNOWN = "unknown"


def class_panels(
    observed: NDArray[np.float32],
    forecast: NDArray[np.float32],
    outcome: NDArray[np.float32],
    classes: Sequence[int],
) -> list[Panel]:
    """What came, what was forecast, and what became of each pixel.

    Args:
        observed, forecast: (y, x) number of the class, len(classes) if it is unknown; NaN
            where there is none. More classes than there are colours that all readers tell
            apart: the most frequent have one each, and the others one together.
        outcome: (y, x) index of OUTCOMES, NaN where it is none.
        classes: codes.
    """
    names = [*map(str, classes), UNKNOWN]
    found = [values[np.isfinite(values)].astype(int) for values in (observed, forecast)]
    counts = np.bincount(np.concatenate(found), minlength=len(names))
    frequent = np.argsort(-counts, kind="stable")[: len(COLOURS)]
    own = sorted(number for number in frequent.tolist() if counts[number]) or [0]
    words, colours = [names[number] for number in own], list(COLOURS[: len(own)])
    if np.count_nonzero(counts) > len(own):
        words.append(OTHERS)
        colours.append(OTHERS_COLOUR)
    slot = np.full(len(names), len(own), dtype=np.float32)
    slot[own] = np.arange(len(own))
    panels = []
    for title, values in (("observed", observed), ("forecast", forecast)):
        known = np.isfinite(values)
        shown = np.full(values.shape, np.nan, dtype=np.float32)
        shown[known] = slot[values[known].astype(int)]
        panels.append(Panel(shown, title, tuple(colours), words=tuple(words)))
    return [*panels, Panel(outcome, "outcome", OUTCOME_COLOURS, words=OUTCOMES)]
