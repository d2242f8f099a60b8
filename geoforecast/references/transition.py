"""Transition: which class follows the last two that a pixel had, as often as it did anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.motion import Motion

BACK_OFF = 20.0  # pixels that a rarer history must outweigh to be believed by itself
HALF_LIFE = 0.3  # of a transition's weight, in shares of the record
LEAST_HALF_LIFE = 3.0  # steps

Floats = NDArray[np.float64]


class Chain:
    """Counts of transitions, and the probabilities that they make.

    Attributes:
        first: (class, class) probability of the second after the first.
        second: ((class + 1) x class, class) the same after two; the last block is for pixels
            whose class before last is not known.
    """

    def __init__(self, numbers: Mapping[str, float], chain: int, classes: int) -> None:
        counts = np.zeros((classes, classes, classes))
        pairs = np.zeros((classes, classes))
        for key, count in numbers.items():
            order, number, *states = (int(part) for part in key.split("."))
            if number == chain:
                (pairs if order == 1 else counts)[tuple(states)] += count
        followed = pairs.sum(axis=0)
        # Where nothing is known a class stays.
        base = (followed + 1) / (followed.sum() + classes)
        seen = pairs.sum(axis=1, keepdims=True)
        smooth = (pairs + BACK_OFF * base) / (seen + BACK_OFF)
        self.first = np.where(seen > 0, smooth, np.eye(classes))
        whole = counts.sum(axis=2, keepdims=True)
        second = (counts + BACK_OFF * self.first) / (whole + BACK_OFF)
        self.second = np.concatenate([second, self.first[None]]).reshape(-1, classes)
        self._tables = [self.second]

    def after(self, steps: int) -> Floats:
        """Probabilities some steps after the last class, in the order of ``second``."""
        while len(self._tables) < steps:
            self._tables.append(self._tables[-1] @ self.first)
        return self._tables[steps - 1]


@reference
class Transition(Reference):
    """A Markov chain of the last two valid classes, with back-off to the last one.

    Transitions between successive steps are counted over all training pixels, recent ones
    counting more (half-life 30 % of the record). A pair of classes borrows 20 pixels' worth of
    counts from the last class alone, and that from how often each class followed any. Steps
    without a valid class, and leads beyond the first, take the chain of the last class on.

    Source:
        Baker (1989), A review of models of landscape change, Landscape Ecology 2; Katz (1987),
        Estimation of probabilities from sparse data, for the back-off.
    """

    name = "transition"
    kinds = ("binary", "categorical")

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        bands, height, width = setting.shape
        self._joint = setting.kind == "categorical"
        self.classes = bands if self._joint else 2
        shape = (1 if self._joint else bands, height, width)
        # The class of each pixel, or -1; how many steps ago it was seen.
        self._last = np.full(shape, -1, dtype=np.int32)
        self._before = np.full(shape, -1, dtype=np.int32)
        self._age = np.zeros(shape, dtype=np.int32)
        self._steps = 0
        self._sums: dict[str, float] = {}
        self._learns = not setting.parameters
        numbers = setting.parameters.get(self.name, {})
        self._chains = [Chain(numbers, chain, self.classes) for chain in range(shape[0])]

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: ARG002
        states, seen = self._states(values_BHW, valid_BHW)
        self._steps += 1
        if self._learns:
            self._count(states, seen)
        np.copyto(self._before, self._last, where=seen)
        np.copyto(self._last, states, where=seen)
        self._age = np.where(seen, 0, self._age + 1)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        result = np.full((len(days), *self.setting.shape), np.nan, dtype=np.float32)
        for number, chain in enumerate(self._chains):
            last, before, age = self._last[number], self._before[number], self._age[number]
            known = last >= 0
            rows = np.where(before >= 0, before, self.classes) * self.classes + last
            for old in np.unique(age[known]).tolist():
                here = known & (age == old)
                for lead in range(len(days)):
                    likely = chain.after(lead + 1 + old)[rows[here]].astype(np.float32)
                    if self._joint:
                        result[lead, :, here] = likely
                    else:
                        result[lead, number, here] = likely[:, 1]
        return result

    def evidence(self) -> dict[str, float]:
        return dict(self._sums)

    @classmethod
    def fit(cls, evidence: Mapping[str, float]) -> dict[str, float]:
        return dict(evidence)

    def _states(
        self, values: Array, valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """(chain, y, x) class of each pixel, and where it is valid."""
        if self._joint:
            filled = np.where(valid, values, np.float32(0))
            seen = np.logical_and.reduce(valid, axis=0)[None]
            return filled.argmax(axis=0)[None].astype(np.int32), seen
        return (np.where(valid, values, np.float32(0)) >= 0.5).astype(np.int32), valid

    def _count(self, states: NDArray[np.int32], seen: NDArray[np.bool_]) -> None:
        """Add one step's transitions to the sums, and let older ones fade."""
        kept = 0.5 ** (1 / max(LEAST_HALF_LIFE, HALF_LIFE * self._steps))
        for key in self._sums:
            self._sums[key] *= kept
        size = self.classes
        for chain, (now, there) in enumerate(zip(states, seen, strict=True)):
            last, before = self._last[chain], self._before[chain]
            pairs = there & (last >= 0) & (self._age[chain] == 0)
            flat = last[pairs] * size + now[pairs]
            self._add(f"1.{chain}", np.bincount(flat, minlength=size**2), (size,) * 2)
            triples = pairs & (before >= 0)
            flat = (before[triples] * size + last[triples]) * size + now[triples]
            self._add(f"2.{chain}", np.bincount(flat, minlength=size**3), (size,) * 3)

    def _add(self, start: str, counts: NDArray[np.int64], shape: tuple[int, ...]) -> None:
        for flat in np.flatnonzero(counts).tolist():
            states = np.unravel_index(flat, shape)
            key = ".".join([start, *(str(int(state)) for state in states)])
            self._sums[key] = self._sums.get(key, 0.0) + float(counts[flat])
