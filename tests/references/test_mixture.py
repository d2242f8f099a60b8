"""The mixture: weights against a general solver, recency by hand, and what the prior does."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize

from geoforecast.references import reference_classes
from geoforecast.references.autoregression import RULES, rule_names, solved
from geoforecast.references.mixture import (
    HALF_LIFE,
    LEAST_HALF_LIFE,
    PRIOR,
    PRIOR_STEPS,
    WORST,
    Sums,
    Tally,
    prior_weights,
    solved_weights,
)


def random_errors(seed, members=6, samples=40):
    """Sums over samples of products of correlated errors."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((members, members)) + 1.5
    errors = rng.standard_normal((samples, members)) @ mixing
    return errors.T @ errors


def objective(weights, mean, steps, prior):
    """What the weights are to minimise, as the documentation has it."""
    squares = np.diag(mean)
    own = weights @ mean @ weights + (squares * weights**2).sum() / steps
    worth = np.minimum(squares, WORST**2 * squares.min())
    return own + PRIOR * PRIOR_STEPS / steps**2 * (worth * (weights - prior) ** 2).sum()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("seen", [1.5, 6.0, 40.0])
def test_weights_equal_a_general_solver(seed, seen):
    members = 6
    prior = np.zeros(members)
    prior[[1, 4]] = 0.7, 0.3
    errors = random_errors(seed, members)
    seen_squares = 0.8 * seen
    mean, steps = errors / seen, seen**2 / seen_squares
    found = solved_weights(errors, seen, seen_squares, prior)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert (found >= 0).all()
    squares = np.diag(mean)
    out = (squares >= WORST**2 * squares.min()) & (prior == 0)
    assert (found[out] == 0).all()
    best = minimize(
        lambda w: objective(w, mean, steps, prior) / squares.min(),
        np.full(members, 1 / members),
        method="SLSQP",
        bounds=[(0, 0) if gone else (0, 1) for gone in out],
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    reached = objective(found, mean, steps, prior) / squares.min()
    assert reached <= best.fun * (1 + 1e-5)
    assert found == pytest.approx(best.x, abs=2e-3)


def test_with_nothing_known_the_prior_stands():
    prior = np.array([0.2, 0.8, 0.0])
    np.testing.assert_array_equal(solved_weights(np.zeros((3, 3)), 0.0, 0.0, prior), prior)


def test_the_prior_fades_with_the_square_of_what_is_known():
    prior = np.array([1.0, 0.0])
    mean = np.diag([1.1, 1.0])  # the prior's member errs a little more
    distance = []
    for steps in (1.0, 4.0, 16.0, 64.0, 1e6):
        weights = solved_weights(mean * steps, steps, steps, prior)
        distance.append(weights[0] - 1 / 2.1)  # independent errors: weighted by 1 / variance
    assert distance[0] > 0.4
    assert all(a > b for a, b in pairwise(distance))
    # Far on, its pull is that of PRIOR_STEPS squared over steps squared.
    assert distance[3] / distance[2] == pytest.approx(1 / 16, rel=0.35)
    assert abs(distance[-1]) < 1e-5


def test_a_member_that_never_errs_takes_all():
    errors = np.diag([3.0, 0.0, 1.0, 0.0])
    found = solved_weights(errors, 3.0, 3.0, np.array([1.0, 0, 0, 0]))
    np.testing.assert_array_equal(found, [0, 0.5, 0, 0.5])


def test_a_member_much_worse_than_the_best_is_left_out():
    # Perfectly opposed errors would make it useful; it is not trusted with that.
    bad, good = 2.1, -1.0
    errors = 100 * np.array([[bad * bad, bad * good], [bad * good, good * good]])
    np.testing.assert_array_equal(solved_weights(errors, 100, 100, np.array([0.0, 1.0])), [0, 1])
    kept = solved_weights(errors, 100, 100, np.array([1.0, 0.0]))
    assert kept[0] > 0.2  # the prior's members stay


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_unit_of_the_errors_does_not_matter(scale):
    errors = random_errors(3)
    prior = np.eye(6)[0]
    expected = solved_weights(errors, 8.0, 8.0, prior)
    assert solved_weights(errors * scale, 8.0, 8.0, prior) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_members_that_agree_are_no_obstacle(seed):
    """Many references are another one in disguise while a record is short."""
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((3, 400)).astype(np.float32)
    stack = few[rng.integers(0, 3, 16)] + np.float32(10.0 ** -rng.integers(3, 12)) * (
        rng.standard_normal((16, 400)).astype(np.float32)
    )
    errors = stack.astype(float) @ stack.T
    for steps in (1.0, 5.0, 500.0):
        found = solved_weights(errors * steps, steps, steps, np.eye(16)[0])
        assert np.isfinite(found).all()
        assert found.sum() == pytest.approx(1, abs=1e-9)


def sums(seed, members, features, pixels):
    rng = np.random.default_rng(seed)
    e = rng.standard_normal((members, pixels)).astype(np.float32)
    x = rng.standard_normal((features, pixels)).astype(np.float32)
    return e, x, Sums.of(e, x, e[0])


def test_sums_are_products_and_add_up():
    e, x, whole = sums(0, 3, 2, 50)
    halves = Sums.of(e[:, :20], x[:, :20], e[0, :20]) + Sums.of(e[:, 20:], x[:, 20:], e[0, 20:])
    for got in (whole, halves):
        assert got.errors == pytest.approx(np.einsum("ip,jp->ij", e, e), rel=1e-4)
        assert got.gram == pytest.approx(np.einsum("ip,jp->ij", x, x), rel=1e-4)
        assert got.products == pytest.approx(np.einsum("ip,p->i", x, e[0]), rel=1e-4, abs=1e-4)
        assert got.pixels == 50


def test_recent_steps_count_more_and_pixels_do_not():
    names, features = ("a", "b"), 2
    tally = Tally.empty(names, leads=2, bands=2, features=features)
    members = len(tally.members)
    assert members == 2 + len(RULES)
    expected = np.zeros((members, members))
    seen = squares = 0.0
    grams = {memory: np.zeros((2, 2)) for memory in (0.0, 0.2, 0.05)}
    counts = dict.fromkeys(grams, 0.0)
    for number, steps in enumerate((5, 6, 30, 100)):
        _, _, one = sums(number, members, features, 10 * (number + 1))
        tally.add(1, 0, steps, one)
        kept = 0.5 ** (1 / max(LEAST_HALF_LIFE, HALF_LIFE * steps))
        expected = kept * expected + one.errors / one.pixels
        seen, squares = kept * seen + 1, kept**2 * squares + 1
        for memory in grams:
            left = 0.5 ** (1 / max(LEAST_HALF_LIFE, memory * steps)) if memory else 1.0
            grams[memory] = left * grams[memory] + one.gram / one.pixels
            counts[memory] = left * counts[memory] + 1
    assert tally.errors[1, 0] == pytest.approx(expected)
    assert tally.seen[:, 1, 0] == pytest.approx([seen, squares])
    for slot, memory in enumerate(grams):
        assert tally.grams[slot, 1, 0] == pytest.approx(grams[memory])
        assert tally.counts[slot, 1, 0] == pytest.approx(counts[memory])
    for other in ((0, 0), (0, 1), (1, 1)):  # no other lead or band has learned anything
        assert not tally.errors[other].any()
        assert not tally.grams[(slice(None), *other)].any()


def test_a_step_without_pixels_says_nothing():
    tally = Tally.empty(("a",), 1, 1, 2)
    tally.add(0, 0, 5, sums(0, len(tally.members), 2, 7)[2])
    before = tally.copy()
    tally.add(0, 0, 6, sums(0, len(tally.members), 2, 0)[2])
    for name, array in before.arrays().items():
        np.testing.assert_array_equal(array, tally.arrays()[name])


def test_a_copy_is_its_own():
    tally = Tally.empty(("a",), 1, 1, 2)
    copy = tally.copy()
    tally.add(0, 0, 5, sums(0, len(tally.members), 2, 7)[2])
    assert tally.errors.any()
    assert not any(array.any() for array in copy.arrays().values())


def test_knowledge_holds_the_weights_of_each_lead_and_band_and_the_rules():
    tally = Tally.empty(("a", "b"), 2, 2, 5, plain=3)
    members = len(tally.members)
    for number in range(24):
        tally.add(number % 2, number // 2 % 2, 5 + number, sums(number, members, 5, 30)[2])
    priors = [{"a": 1.0}, {"b": 1.0}]
    known = tally.knowledge(priors)
    assert known.members == ("a", "b", *rule_names())
    for lead in range(2):
        for band in range(2):
            prior = np.eye(members)[band]
            seen, squares = tally.seen[:, lead, band]
            expected = solved_weights(tally.errors[lead, band], seen, squares, prior)
            np.testing.assert_array_equal(known.weights[lead, band], expected)
            for number, rule in enumerate(RULES):
                slot = (0, 0.2, 0.05).index(rule.memory)
                some = slice(5 if rule.varying else 3)  # the others look at the first three only
                expected = np.zeros(5)
                expected[some] = solved(
                    tally.grams[slot, lead, band][some, some],
                    tally.products[slot, lead, band][some],
                    tally.counts[slot, lead, band],
                    rule.ridge,
                )
                np.testing.assert_array_equal(known.coefficients[number, lead, band], expected)
                assert (expected != 0).sum() == (5 if rule.varying else 3)


def test_members_may_be_left_out():
    tally = Tally.empty(("a", "b", "c"), 1, 1, 2)
    for number in range(5):
        tally.add(0, 0, 5 + number, sums(number, len(tally.members), 2, 30)[2])
    known = tally.knowledge([{"a": 1.0}], without=["b"])
    assert known.weights[0, 0, 1] == 0
    assert known.weights[0, 0].sum() == pytest.approx(1)
    assert (known.weights[0, 0, [0, 2]] > 0).all()  # each weight at its own member's place


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("spanned", [False, True])
@pytest.mark.parametrize("step_days", [0.01, 16.0])
def test_priors_are_weights_of_members_that_are_there(moving, spanned, step_days):
    classes = reference_classes(step_days)
    prior = prior_weights(classes, moving=moving, spanned=spanned)
    assert sum(prior.values()) == pytest.approx(1)
    assert set(prior) <= {*classes, *rule_names()}
    if not spanned:
        assert not any(name in classes and classes[name].needs_cycle for name in prior)
    assert ("advection" in prior) == (moving and step_days < 0.1)
