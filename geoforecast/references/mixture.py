"""Mixture: all references and the autoregression, weighted by the errors they made before.

The weights are non-negative, sum to 1 and minimise the error that the mixture would have
made at earlier steps, recent ones counting more. They are drawn to a prior that matters while
few errors are known. Only sums of products of errors are kept, so memory depends neither on
the number of steps nor on that of pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from geoforecast.references import likeness, spread
from geoforecast.references.autoregression import RULES, Rule, rule_names, solved

MIXTURE = "mixture"
HALF_LIFE = 0.15  # of an error's weight, in shares of the record
LEAST_HALF_LIFE = 3.0  # steps
WORST = 2.0  # times the least error: members beyond are left out
# Strength of the prior at PRIOR_STEPS steps' worth of errors; it fades with their square.
PRIOR, PRIOR_STEPS = 3.0, 8.0
CAREFUL = Rule(0.3, 0.0)  # of RULES the one that is least easily misled

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Knowledge:
    """What a forecast needs to know of all errors made before it.

    Attributes:
        members: names of what is mixed: references, then rules.
        weights: (lead, band, member), sum 1 over members.
        coefficients: (rule, lead, band, feature) of the autoregression; features as widened.
        typical: (lead, band) root mean squared error of the mixture, band units; 0 if unknown.
        scores: (lead, band, class, bin) see references.spread.counted; weighted shares.
        scored: (lead, band) how many steps those are worth.
        pairs: (lead, band, 2, distance) weighted sums of likeness.pairs.
    """

    members: tuple[str, ...]
    weights: Floats
    coefficients: Floats
    typical: Floats
    scores: Floats
    scored: Floats
    pairs: Floats


@dataclass
class Tally:
    """Sums of all errors up to a step, from which weights and coefficients follow.

    Attributes:
        references: names of the references.
        plain: features of rules whose coefficients do not vary; they come first.
        errors: (lead, band, member, member) weighted sums of mean products of errors.
        seen: (2, lead, band) sums of the weights and of their squares.
        grams: (memory, lead, band, feature, feature), see autoregression.solved.
        products: (memory, lead, band, feature).
        counts: (memory, lead, band) weighted number of steps.
        scores: (lead, band, class, bin) weighted shares of pixels by how far off the mixture
            was, see references.spread.
        scored: (2, lead, band) sums of those weights and of their squares.
        pairs: (lead, band, 2, distance) sums of how alike neighbours' errors were.
    """

    references: tuple[str, ...]
    plain: int
    errors: Floats
    seen: Floats
    grams: Floats
    products: Floats
    counts: Floats
    scores: Floats
    scored: Floats
    pairs: Floats

    @classmethod
    def empty(
        cls,
        references: Sequence[str],
        leads: int,
        bands: int,
        features: int,
        plain: int | None = None,
    ) -> Tally:
        """One that knows nothing.

        Args:
            references: names of the references.
            leads, bands: how many.
            features: of rules whose coefficients vary.
            plain: of all others, which come first; None: as many.
        """
        members, memories = len(references) + len(RULES), len(_memories())
        return cls(
            references=tuple(references),
            plain=features if plain is None else plain,
            errors=np.zeros((leads, bands, members, members)),
            seen=np.zeros((2, leads, bands)),
            grams=np.zeros((memories, leads, bands, features, features)),
            products=np.zeros((memories, leads, bands, features)),
            counts=np.zeros((memories, leads, bands)),
            scores=np.zeros((leads, bands, spread.CLASSES, spread.BINS)),
            scored=np.zeros((2, leads, bands)),
            pairs=np.zeros((leads, bands, 2, len(likeness.DISTANCES))),
        )

    @property
    def members(self) -> tuple[str, ...]:
        return (*self.references, *rule_names())

    def add(self, lead: int, band: int, steps: int, sums: Sums) -> None:
        """Take in the errors of one step's forecasts.

        Args:
            lead, band: indices.
            steps: of the series so far, which half-lives are shares of.
            sums: of all pixels of that step.
        """
        if sums.pixels == 0:
            return
        kept = remaining(HALF_LIFE, steps)
        self.errors[lead, band] = kept * self.errors[lead, band] + sums.errors / sums.pixels
        self.seen[0, lead, band] = kept * self.seen[0, lead, band] + 1
        self.seen[1, lead, band] = kept * kept * self.seen[1, lead, band] + 1
        for slot, memory in enumerate(_memories()):
            kept = remaining(memory, steps) if memory else 1.0
            for store, new in (
                (self.grams, sums.gram / sums.pixels),
                (self.products, sums.products / sums.pixels),
                (self.counts, 1.0),
            ):
                store[slot, lead, band] = kept * store[slot, lead, band] + new
        if sums.scores is not None:
            kept = 0.5 ** (1 / spread.half_life(steps))
            old = self.scores[lead, band]
            self.scores[lead, band] = kept * old + sums.scores / sums.pixels
            self.scored[0, lead, band] = kept * self.scored[0, lead, band] + 1
            self.scored[1, lead, band] = kept * kept * self.scored[1, lead, band] + 1
            if sums.pairs is not None:
                self.pairs[lead, band] = kept * self.pairs[lead, band] + sums.pairs / sums.pixels

    def knowledge(
        self, priors: Sequence[Mapping[str, float]], without: Collection[str] = ()
    ) -> Knowledge:
        """Weights and coefficients as of now.

        Args:
            priors: for each band, the weights of members before any error is known.
            without: members that get no weight.
        """
        allowed = np.array([name not in without for name in self.members])
        leads, bands, features = self.products.shape[1:]
        weights = np.empty((leads, bands, len(self.members)))
        coefficients = np.zeros((len(RULES), leads, bands, features))
        for lead in range(leads):
            for band in range(bands):
                prior = np.array([priors[band].get(name, 0.0) for name in self.members])
                seen, squares = (float(one) for one in self.seen[:, lead, band])
                errors = self.errors[lead, band][np.ix_(allowed, allowed)]
                weights[lead, band] = 0
                weights[lead, band, allowed] = solved_weights(errors, seen, squares, prior[allowed])
                for number, rule in enumerate(RULES):
                    at = (_memories().index(rule.memory), lead, band)
                    kept = slice(None) if rule.varying else slice(self.plain)
                    coefficients[number, lead, band, kept] = solved(
                        self.grams[at][kept, kept],
                        self.products[at][kept],
                        self.counts[at],
                        rule.ridge,
                    )
        mean = self.errors / np.maximum(self.seen[0], 1e-30)[..., None, None]
        squares = np.einsum("lbk,lbkm,lbm->lb", weights, mean, weights)
        steps = self.scored[0] ** 2 / np.maximum(self.scored[1], 1e-30)
        return Knowledge(
            members=self.members,
            weights=weights,
            coefficients=coefficients,
            typical=np.sqrt(np.maximum(squares, 0.0)),
            scores=self.scores.copy(),
            scored=steps,
            pairs=self.pairs.copy(),
        )

    def over_bands(self) -> Tally:
        """One whose errors are those of all bands together, so that all get the same weights."""
        mean = self.errors.mean(axis=1, keepdims=True)
        return replace(self, errors=np.broadcast_to(mean, self.errors.shape))

    def arrays(self) -> dict[str, Floats]:
        """All sums by name, for a file."""
        names = ("errors", "seen", "grams", "products", "counts", "scores", "scored", "pairs")
        return {name: getattr(self, name) for name in names}

    def holding(self, arrays: Mapping[str, Floats]) -> Tally:
        """One of the same kind with other sums, as arrays() gives them."""
        return Tally(self.references, self.plain, **arrays)

    def copy(self) -> Tally:
        """One of its own."""
        return self.holding({name: sums.copy() for name, sums in self.arrays().items()})


@dataclass
class Sums:
    """Sums over pixels of one step's forecasts at one lead of one band.

    Attributes:
        errors: (member, member) of products of errors.
        gram: (feature, feature) of products of features.
        products: (feature,) of features and what is left to explain.
        pixels: how many.
        scores: (class, bin) counts of how far off the mixture was; None if there was none.
        pairs: (2, distance) of likeness.pairs times pixels; None if there was no mixture.
    """

    errors: Floats
    gram: Floats
    products: Floats
    pixels: int
    scores: Floats | None = None
    pairs: Floats | None = None

    @classmethod
    def of(
        cls,
        errors: NDArray[np.float32],
        features: NDArray[np.float32],
        rest: NDArray[np.float32],
        scores: Floats | None = None,
        pairs: Floats | None = None,
    ) -> Sums:
        """Sums of pixels.

        Args:
            errors: (member, pixel).
            features: (feature, pixel).
            rest: (pixel,) observed minus the base forecast.
            scores, pairs: see the attributes; ``pairs`` not yet times pixels.
        """
        e, x = errors.astype(np.float64), features.astype(np.float64)
        pixels = errors.shape[1]
        weighed = None if pairs is None else pairs * pixels
        products = x @ rest.astype(np.float64)
        return cls(e @ e.T, x @ x.T, products, pixels, scores, weighed)

    def __add__(self, other: Sums) -> Sums:
        scores, pairs = self.scores, self.pairs
        if scores is not None and other.scores is not None:
            scores = scores + other.scores
        if pairs is not None and other.pairs is not None:
            pairs = pairs + other.pairs
        return Sums(
            self.errors + other.errors,
            self.gram + other.gram,
            self.products + other.products,
            self.pixels + other.pixels,
            scores,
            pairs,
        )


def prior_weights(references: Collection[str], *, moving: bool, spanned: bool) -> dict[str, float]:
    """Weights before any error is known.

    Args:
        references: that there are.
        moving: the band holds fields that move over a zero, as rain does.
        spanned: the record spans a cycle.
    """
    if moving and "advection" in references:
        # The rule is the advected field until it has seen enough to better it.
        return {"advection": 0.4, "persistence": 0.1, str(CAREFUL): 0.5}
    for name in ("logistic", "transition"):
        if name in references:
            return {name: 1.0}
    if spanned:
        return {"kriging": 0.5, "anomaly_kriging": 0.5}
    return {"kriging": 1.0}


def solved_weights(errors: Floats, seen: float, seen_squares: float, prior: Floats) -> Floats:
    """Weights of members that are not negative, sum to 1 and err least.

    The diagonal is inflated by one step's worth of errors over those that are known, since
    the members' differences are known no better; members with WORST times the least error
    are left out.

    Args:
        errors: (member, member) weighted sum of mean products of errors.
        seen, seen_squares: sums of the weights and of their squares.
        prior: (member,) weights before any error is known.
    Source:
        Bates & Granger (1969), The combination of forecasts; Breiman (1996), Stacked
        regressions, for the constraint.
    """
    if seen == 0:
        return prior
    steps = seen * seen / seen_squares
    mean = errors / seen
    squares = np.diag(mean)
    least = squares.min()
    if not least > 0:  # some member never erred: nothing to weigh
        exact: Floats = (squares <= 0).astype(np.float64)
        exact /= exact.sum()
        return exact
    kept = np.flatnonzero((squares < WORST**2 * least) | (prior > 0))
    inflated = mean[np.ix_(kept, kept)] + np.diag(squares[kept]) / steps
    pull = PRIOR * PRIOR_STEPS / steps**2 * np.minimum(squares[kept], WORST**2 * least)
    values, vectors = np.linalg.eigh(inflated)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    much = 1e3 * np.sqrt(squares[kept].sum())  # how much a sum other than 1 costs
    left = np.vstack([root, np.diag(np.sqrt(pull)), np.full((1, len(kept)), much)])
    right = np.concatenate([np.zeros(len(kept)), np.sqrt(pull) * prior[kept], [much]])
    found, _ = nnls(left, right)
    result = np.zeros(len(prior))
    result[kept] = found / found.sum()
    return result


def _memories() -> tuple[float, ...]:
    return tuple(dict.fromkeys(rule.memory for rule in RULES))


def remaining(share: float, steps: int) -> float:
    """What one more step leaves of older ones' weight."""
    return float(0.5 ** (1 / max(LEAST_HALF_LIFE, share * steps)))
