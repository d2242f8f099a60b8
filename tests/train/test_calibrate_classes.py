"""The weight of a correction of probabilities: the best mean of both, by trying all."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from geoforecast.forecast.kinds import moved_odds, pooled
from geoforecast.train.calibrate_classes import calibrate

STEPS = 6


def windows_of(truth, reference, known, kind):
    """Windows that hand out what is given, (window, lead, band, y, x) each."""

    def sample(number):
        parts = np.stack([truth[number], reference[number], reference[number]], axis=1)
        tensors = (torch.zeros(1), torch.from_numpy(parts)[None], torch.from_numpy(known[number]))
        return tensors[0], tensors[1], tensors[2][None]

    return SimpleNamespace(
        kind=kind,
        horizon=truth.shape[1],
        split=SimpleNamespace(validation_steps=range(STEPS)),
        shares=(0.5,) * truth.shape[2],
        validation=lambda _seed: range(len(truth)),
        validation_sample=sample,
    )


@pytest.mark.parametrize("kind", ["binary", "categorical"])
def test_the_weight_has_the_least_brier_score(kind):
    rng = np.random.default_rng(0)
    shape = (3, 2, 3, 9, 8)  # window, lead, band or class, y, x
    classes = rng.integers(0, 3, (3, 2, 9, 8))
    truth = (classes[:, :, None] == np.arange(3)[:, None, None]).astype(np.float32)
    reference = rng.dirichlet([1, 1, 1], (3, 2, 9, 8)).astype(np.float32).transpose(0, 1, 4, 2, 3)
    reference = np.ascontiguousarray(reference)
    known = np.broadcast_to(rng.random((3, 2, 1, 9, 8)) < 0.7, shape).copy()
    reference[~known] = np.nan
    # Right at the first lead but much too sure; wrong at the second.
    sign = np.array([1.0, -1.0], np.float32)[:, None, None, None]
    delta = sign * (6 * truth - 3 + 3 * rng.standard_normal(shape)).astype(np.float32)
    windows = windows_of(truth, reference, known, kind)
    answers = iter(delta)
    model = lambda x, leads: torch.from_numpy(next(answers))[None]  # noqa: E731, ARG005
    found = calibrate(model, windows, 0, torch.device("cpu"))
    trials = np.linspace(0, 1, 1001)
    pixels = known.sum(axis=(0, 2, 3, 4)) / (1 if kind == "binary" else 3)
    scores = np.empty((len(trials), 2))
    moved = [moved_odds(p, d, kind) for p, d in zip(reference, delta, strict=True)]
    for number, weight in enumerate(trials):
        made = np.stack([pooled(p, q, weight) for p, q in zip(reference, moved, strict=True)])
        squares = np.where(known, np.square(made - truth), 0)
        scores[number] = squares.sum(axis=(0, 2, 3, 4)) / pixels
    best = trials[scores.argmin(axis=0)]
    assert 0.3 < best[0] <= 1
    assert best[1] == 0
    assert found.blend == pytest.approx(best * STEPS / (STEPS + 2), abs=1e-3)
    assert found.reference_rmse == pytest.approx(np.sqrt(scores[0]), rel=1e-5)
    at = [np.interp(w, trials, scores[:, lead]) for lead, w in enumerate(found.blend)]
    assert found.forecast_rmse == pytest.approx(np.sqrt(at), rel=1e-4)
    assert found.skill == pytest.approx(np.mean(1 - np.array(at) / scores[0]), rel=1e-4)
    assert found.evidence.shape == (4, 2)
