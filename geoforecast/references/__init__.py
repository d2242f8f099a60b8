"""Forecasts that need no training, one a file: the yardstick and the base of every run.

The contract: a :class:`Reference` is fed a tile's steps one by one, in time order, and may
be asked at any moment for forecasts of later times. It has never seen anything later, so
it cannot cheat; it keeps a fixed number of values a pixel, so memory does not grow with
the series. What several references remember alike, a :class:`State`, is kept once a tile.
Everything it computes for a pixel depends on that pixel alone (advection: on the motion
field and the pixels it points at), so a tile's forecast is the whole raster's. Numbers that
are pooled over pixels are fitted once, in training, and passed in.

What is made of several references lies beside them: autoregression, which regresses on
them, and the mixture of all.

To add one: a new file here with a class that has ``name`` and these methods, decorated
with :func:`reference`.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError, did_you_mean
from geoforecast.references.motion import Motion

Array = NDArray[np.float32]


S = TypeVar("S", bound="State")


class State(ABC):
    """What several references remember of one tile; made by Setting.state, once a tile.

    A state must not keep the setting that keeps it: a ring of large arrays is freed late.

    Args:
        setting: the tile and the series.
    """

    def __init__(self, setting: Setting) -> None:  # noqa: B027
        """Begin with nothing seen."""

    @abstractmethod
    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        """Take in one step; see Reference.update for the arguments."""


@dataclass(frozen=True)
class Setting:
    """What a reference knows about its series and tile beforehand.

    Attributes:
        shape: (band, y, x) of the tile with its halo.
        origin: row and column of the tile's first pixel in the grid.
        step_days: the nominal step.
        parameters: numbers fitted in training, by reference name.
        kind: of the targets: continuous, count, binary or categorical. Bands of classes hold 1
            where a pixel is of that class and 0 elsewhere.
    """

    shape: tuple[int, int, int]
    origin: tuple[int, int]
    step_days: float
    parameters: Mapping[str, Mapping[str, float]]
    kind: str = "continuous"
    _states: dict[type[State], State] = field(default_factory=dict, repr=False, compare=False)

    def state(self, kind: type[S]) -> S:
        """The tile's one state of a kind, shared by all references that ask for it."""
        if kind not in self._states:
            self._states[kind] = kind(self)
        found = self._states[kind]
        assert isinstance(found, kind)
        return found

    @property
    def states(self) -> tuple[State, ...]:
        """All states, those that others were made of first."""
        return tuple(self._states.values())


@dataclass(frozen=True)
class Samples:
    """Some pixels of one training step, for references that no sums can fit.

    Attributes:
        step: number of the step, from the first one seen.
        features: (pixel, feature).
        truth: (pixel,) number of the class that came.
    """

    step: int
    features: Array
    truth: NDArray[np.int64]


class Reference(ABC):
    """One simple forecast of one tile; see the module's docstring for the contract.

    Args:
        setting: the tile and the series.
    """

    name: ClassVar[str]
    needs_motion: ClassVar[bool] = False
    needs_cycle: ClassVar[bool] = False  # until a cycle is over it is another one in disguise
    reach_px: ClassVar[int] = 0  # how far a pixel's forecast looks around it
    kinds: ClassVar[tuple[str, ...]] = ("continuous", "count", "binary")  # of targets it suits

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def compare(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: B027
        """See one step before any state has taken it in, to learn how far off one was."""

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: B027
        """Take in one step, after the states have.

        Args:
            values_BHW: band units; anything where invalid.
            valid_BHW: True = usable.
            day: the step's time in days since 1970.
        """

    @abstractmethod
    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:
        """Forecast later times.

        Args:
            days: the valid times, ascending, consecutive steps from the first lead on.
            motion: the motion field at init time, if ``needs_motion``.
        Returns:
            (lead, band, y, x) in band units; NaN where no step was ever valid.
        """

    def evidence(self) -> dict[str, float]:
        """Sums from which fit() estimates this reference's pooled numbers; they add up."""
        return {}

    @classmethod
    def fit(cls, evidence: Mapping[str, float]) -> dict[str, float]:  # noqa: ARG003
        """The pooled numbers from summed evidence; {} if it has none."""
        return {}

    def samples(self) -> list[Samples]:
        """Pixels from which fit_samples() estimates its numbers, if sums are not enough."""
        return []

    @classmethod
    def fit_samples(cls, samples: Sequence[Samples]) -> dict[str, float]:  # noqa: ARG003
        """The pooled numbers from samples of all tiles; {} if it has none."""
        return {}

    @classmethod
    def applies(cls, step_days: float) -> bool:  # noqa: ARG003
        """Whether this reference makes sense for a series of this step."""
        return True


_REGISTRY: dict[str, type[Reference]] = {}


def reference(cls: type[Reference]) -> type[Reference]:
    """Class decorator: make a reference known by its name."""
    _REGISTRY[cls.name] = cls
    return cls


def reference_classes(
    step_days: float | None = None, kind: str = "continuous"
) -> dict[str, type[Reference]]:
    """Every reference of this package by name, or those that apply.

    Args:
        step_days: the nominal step; None takes all there are, of any kind.
        kind: of the targets.
    """
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return {
        name: cls
        for name, cls in sorted(_REGISTRY.items())
        if step_days is None or (kind in cls.kinds and cls.applies(step_days))
    }


def find_reference(name: str, step_days: float, kind: str = "continuous") -> type[Reference]:
    """One reference by name.

    Raises:
        SettingsError: unknown, or it makes no sense for this step length or kind.
    """
    known = reference_classes(step_days, kind)
    if name not in known:
        raise SettingsError(
            f"There is no reference '{name}' for {kind} targets in steps of {step_days:.3g} days.",
            remedy=did_you_mean(name, {"auto", *known}),
        )
    return known[name]


def feed(
    references: Iterable[Reference],
    setting: Setting,
    values_BHW: Array,
    valid_BHW: NDArray[np.bool_],
    day: float,
) -> None:
    """Let the references of one tile, and the states they share, take in one step."""
    references = list(references)
    for one in references:
        one.compare(values_BHW, valid_BHW, day)
    for state in setting.states:
        state.update(values_BHW, valid_BHW, day)
    for one in references:
        one.update(values_BHW, valid_BHW, day)


def ordered_sum(stack: Array) -> Array:
    """Sum over the first axis, one by one: the same bits for any tile shape.

    numpy's own sum may pair terms differently for different memory layouts.
    """
    total: Array = stack[0].copy()
    for item in stack[1:]:
        total += item
    return total
