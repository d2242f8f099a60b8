"""Whose forecasts are verified, in words: a run's, those that it issued, or any tool's."""

from __future__ import annotations

from dataclasses import dataclass

from geoforecast.figures.words import step_length
from geoforecast.validate.folds import Folded
from geoforecast.validate.given import Given
from geoforecast.validate.issued import SUFFIX, Issued
from geoforecast.validate.report.reproduce import FOLDS
from geoforecast.validate.source import Source
from geoforecast.validate.verdict.summary import period

SAME_PIXELS = "on all pixels that were observed and for which every method has a value"


@dataclass(frozen=True)
class Origin:
    """What may be said of the forecasts, and of what they knew.

    Attributes:
        opening: the report's first words.
        steps, leads: facts of the report.
        span: whose range of values is told.
        method: how they were compared, for other software.
        lineage: where they come from, for other software.
    """

    opening: str
    steps: str
    leads: str
    span: str
    method: str
    lineage: str


def origin_of(engine: Source, run: str) -> Origin:
    """What is said of a source.

    Args:
        engine: the source.
        run: the name of what is written.
    """
    first, last = period(engine)
    when = f"{first} to {last}" if first != last else first
    cube = f"the cube with the fingerprint {engine.fingerprint}"
    times = engine.cube.times
    apart = f", {step_length(times)} apart" if len(times) > 1 else ""
    steps = f"{len(times)} in the cube{apart}"
    leads = _count(engine.horizon, "step")
    if isinstance(engine, Given):
        scenes = _count(len(engine.pairs), "observed scene")
        return Origin(
            opening=f"Forecasts that were handed in, held against {scenes}, {when}. What was "
            "known when they were made is not told.",
            steps=f"{steps}: {_were_forecast(len(engine.pairs))}",
            leads="nobody says when the forecasts were made, so simple forecasts are made one "
            "scene before, the best case for them",
            span="observed range",
            method="Each forecast, which was handed in without saying when it was made, is "
            f"compared with what was observed, {SAME_PIXELS}; simple forecasts are made one scene "
            "before.",
            lineage=f"Forecasts that were handed in, compared as '{run}' with {cube}",
        )
    if isinstance(engine, Issued):
        count = len({one.step for one in engine.files})
        return Origin(
            opening=f"Forecasts of run {run.removesuffix(SUFFIX)} as they were issued, verified "
            f"on {_count(count, 'scene')} that came later, {when}, none of which their weights "
            "had seen.",
            steps=f"{steps}: {_were_forecast(count)}",
            leads=f"up to {leads} ahead; simple forecasts are made from what was known when each "
            "forecast was issued",
            span="training range",
            method="Each forecast, as it was written before its scene came, is compared with what "
            f"was observed, {SAME_PIXELS}; simple forecasts are made from the same moment.",
            lineage=f"Issued by geoforecast, run '{run.removesuffix(SUFFIX)}', verified with "
            f"{cube}",
        )
    if isinstance(engine, Folded):
        tests = _count(len(engine.split.test_steps), "test step")
        whose = f"run {run.removesuffix(FOLDS)}"
        return Origin(
            opening=f"{len(engine.engines)} folds of {whose}, verified on {tests}, {when}, none of "
            "which the training of its own fold, or any choice of it, has seen.",
            steps=f"{steps}: {tests} in {len(engine.engines)} folds",
            leads=f"up to {leads} ahead; each forecast is made from what was known that many steps "
            "before",
            span="training range of the first fold",
            method="Each step of a fold's test block, which no training or choice of that fold has "
            "seen, is forecast from what was known that many steps before (rolling origin) and "
            f"compared with what was observed, {SAME_PIXELS}.",
            lineage=f"Forecast by geoforecast, folds of {whose}, from {cube}",
        )
    split = engine.split
    parts = zip(
        (split.train_steps, split.validation_steps, split.test_steps),
        ("training", "validation", "test"),
        strict=True,
    )
    return Origin(
        opening=f"Run {run}, verified on {_count(len(split.test_steps), 'test step')}, {when}, "
        "none of which training or any choice has seen.",
        steps=f"{steps}: {', '.join(f'{len(part)} {name}' for part, name in parts)}",
        leads=f"up to {leads} ahead; each forecast is made from what was known that many steps "
        "before",
        span="training range",
        method="Each step of the test block, which no training or choice has seen, is forecast "
        "from what was known that many steps before (rolling origin) and compared with what was "
        f"observed, {SAME_PIXELS}.",
        lineage=f"Forecast by geoforecast, run '{run}', from {cube}",
    )


def _were_forecast(number: int) -> str:
    return f"{number} {'was' if number == 1 else 'were'} forecast"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
