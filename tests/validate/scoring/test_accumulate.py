"""Sums over tiles and steps: the same pixels for all, whatever the tile size."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp
from skimage.metrics import structural_similarity

from geoforecast.samples.split import Split
from geoforecast.validate.metrics import spectra
from geoforecast.validate.metrics.autocorrelation import autocorrelation
from geoforecast.validate.metrics.ensemble import SIZE, ensemble_sums
from geoforecast.validate.metrics.fractions import fraction_sums
from geoforecast.validate.metrics.pooled import evaluate
from geoforecast.validate.scoring.accumulate import score_raster, scored_pixels
from geoforecast.validate.scoring.rows import metric_rows
from geoforecast.validate.scoring.scores import STATS, Scores, map_reference


def score(engine: Any, tile_px: int = 512, methods: tuple[str, ...] | None = None) -> Scores:
    return score_raster(engine, methods or engine.methods, tile_px, lambda *_: None)


@pytest.mark.parametrize("tile_px", [4, 11, 16])
@pytest.mark.parametrize("events", [(), ((0.45,), (285.0, 292.5))])
def test_tile_size_does_not_matter(
    engine: Any, tile_px: int, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks of spectra as small as the smallest tiles, which begin where blocks do.
    monkeypatch.setattr(spectra, "SMALL_BLOCK_PX", 4)
    monkeypatch.setattr(spectra, "LEAST_PX", 4)
    monkeypatch.setattr(spectra, "FULL_SHARE", 0.5)
    whole, tiled = (
        score_raster(engine, engine.methods, side, lambda *_: None, events=events)
        for side in (512, tile_px)
    )
    assert whole.looks.fields["forecast", 0, 1].spectra.blocks > 1
    for one, other in zip(metric_rows(whole), metric_rows(tiled), strict=True):
        assert dataclasses.replace(one, value=0.0) == dataclasses.replace(other, value=0.0)
        assert one.value == pytest.approx(other.value, rel=1e-12, abs=1e-12, nan_ok=True)


def test_scores_equal_direct_arithmetic(engine: Any) -> None:
    """MAE, R2 and SSIM of one band and lead, from whole arrays, by the protocol."""
    band, lead = 1, 2
    statistics = engine.statistics[band]
    errors, observations, similarities = [], [], []
    for hindcast in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps):
        if hindcast.lead != lead:
            continue
        ok = hindcast.valid[band]
        f, o = (
            a[band].astype(np.float64) for a in (hindcast.forecasts["forecast"], hindcast.observed)
        )
        errors.append((f - o)[ok])
        observations.append(o[ok])
        f, o = (np.where(ok, a, statistics.mean) for a in (f, o))
        width = statistics.maximum - statistics.minimum
        _, image = structural_similarity(f, o, data_range=width, full=True)
        if ok.mean() >= 0.25:
            similarities.append(image[ok].mean())
    e, o = np.concatenate(errors), np.concatenate(observations)
    pooled = score(engine).pooled("forecast", band, lead)
    assert pooled.n == e.size
    assert evaluate("mae", pooled)[0] == pytest.approx(np.abs(e).mean(), rel=1e-12)
    expected = 1 - (e**2).sum() / ((o - o.mean()) ** 2).sum()
    assert evaluate("r2", pooled)[0] == pytest.approx(expected, rel=1e-9)
    assert evaluate("ssim", pooled)[0] == pytest.approx(np.mean(similarities), abs=1e-8)


def test_invalid_pixels_do_not_matter(engine: Any) -> None:
    junk = dataclasses.replace(engine, junk=1e9)
    np.testing.assert_array_equal(score(junk).sums, score(engine).sums)


def test_all_methods_share_their_pixels(engine: Any) -> None:
    sums = score(engine).sums[..., STATS.index("n")]
    assert (sums == sums[:, :, :1]).all()
    assert sums.sum() > 0


class HoleEngine:
    """Another engine, but climatology lacks the left half."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def hindcasts(self, tile: Any, steps: range, level: float = 0.0, likely: int = 0) -> Any:
        for hindcast in self._engine.hindcasts(tile, steps, level, likely):
            columns = np.arange(tile.col0, tile.col1)
            hindcast.forecasts["climatology"][..., columns < 15] = np.nan
            yield hindcast


def test_a_pixel_that_one_method_lacks_is_scored_for_none(engine: Any) -> None:
    scores = score(HoleEngine(engine))
    _, valid = engine.cube.read(10, 14)
    assert scores.counts[:, 0].sum() == valid[..., 15:].sum()
    assert scores.seen[0].sum() == valid.sum()
    assert scores.without_values() == {}


def test_a_reference_without_any_value_is_named(engine: Any) -> None:
    scores = score(dataclasses.replace(engine, gone="climatology"))
    assert scores.without_values() == {"climatology": "no value for NDVI at lead 1"}
    assert scores.counts.sum() == 0
    assert math.isnan(scores.pooled("forecast", 0, 1).ssim)


def test_frames_with_few_pixels_do_not_count_for_ssim(engine: Any) -> None:
    scores = score(engine)
    column, share = STATS.index("n"), 0.25 * scores.pixels
    sums = scores.sums.copy()
    sums[0, :, :, :, column] = share - 1  # one frame falls below a quarter
    fewer = dataclasses.replace(scores, sums=sums)
    kept = [frame for frame in range(1, 4) if scores.counts[frame, 0, 0] >= share]
    expected = [sums[i, 0, 0, 0, -1] / sums[i, 0, 0, 0, column] for i in kept]
    assert fewer.pooled("forecast", 0, 1).ssim == pytest.approx(np.mean(expected), rel=1e-12)
    assert scores.pooled("forecast", 0, 1).ssim != fewer.pooled("forecast", 0, 1).ssim


def test_step_errors_are_those_of_each_scored_step(engine: Any) -> None:
    scores = score(engine)
    for lead, factor in ((1, 0.5), (2, 1.0), (3, 1.5)):  # the fake's error beside persistence's
        ours, pixels = scores.step_errors("forecast", 0, lead)
        theirs, same = scores.step_errors("persistence", 0, lead)
        assert len(ours) == 4
        np.testing.assert_array_equal(pixels, same)
        np.testing.assert_allclose(ours, factor**2 * theirs, rtol=1e-6)


def test_map_reference_is_the_runs_own(engine: Any) -> None:
    own = dataclasses.replace(engine, yardstick="climatology")
    assert map_reference(own, own.methods) == "climatology"
    other = dataclasses.replace(engine, reference="mixture")
    assert map_reference(other, ("forecast", "climatology")) == "climatology"
    assert map_reference(engine, ("forecast",)) == ""


def test_progress_ends_at_the_end(engine: Any) -> None:
    seen: list[tuple[int, int]] = []
    early = dataclasses.replace(engine, split=Split(0, 1, 14))  # step 1 has one lead only
    for judged, total in ((engine, 48), (early, 156)):  # 4 tiles, 4 or 13 steps, 3 leads
        seen.clear()
        score_raster(judged, judged.methods, 16, lambda *_: None, lambda *count: seen.append(count))
        assert seen[-1] == (total, total)
        assert seen == sorted(seen)
        assert len(seen) > total * 0.9


def test_coverage_counts_what_lies_inside(engine: Any) -> None:
    class Bounded(type(engine)):  # type: ignore[misc]
        def hindcasts(self, tile: Any, steps: range, level: float = 0.0, likely: int = 0) -> Any:
            for one in super().hindcasts(tile, steps, level, likely):
                forecast = one.forecasts["forecast"]
                # Inside wherever the observation lies no more than 0.1 above the forecast.
                values = forecast + np.linspace(-1, 1, likely or 2)[:, None, None, None]
                yield dataclasses.replace(
                    one,
                    lower=forecast - 1000,
                    upper=forecast + np.float32(0.1),
                    likely=values.astype(np.float32) if likely else None,
                )

    bounded = Bounded(**{**vars(engine), "has_intervals": True})
    scores = score_raster(bounded, bounded.methods, 16, lambda *_: None, interval=0.9)
    inside = total = 0
    for one in bounded.hindcasts(bounded.cube.grid.whole, bounded.split.test_steps):
        if one.lead == 2:
            own = scored_pixels(one, bounded.methods, 0)
            ok = one.observed[0] <= one.forecasts["forecast"][0] + np.float32(0.1)
            inside, total = inside + int(ok[own].sum()), total + int(own.sum())
    share, width = scores.coverage(0, 2)
    assert share == inside / total
    assert 0 < share < 1
    assert width == pytest.approx(1000.1, rel=1e-5)
    direct = []
    whole, steps = bounded.cube.grid.whole, bounded.split.test_steps
    for one in bounded.hindcasts(whole, steps, likely=SIZE):
        if one.lead == 2:
            ok = scored_pixels(one, bounded.methods, 0)
            direct.append(ensemble_sums(one.likely[:, 0], one.observed[0], ok))
    known = scores.ensemble(0, 2)
    assert known.n == total
    assert known.crps == pytest.approx(sum(sums[0] for sums, _ in direct))
    np.testing.assert_allclose(known.ranks, sum(ranks for _, ranks in direct))
    told = {
        row.metric: row.value for row in metric_rows(scores) if (row.band, row.lead) == ("NDVI", 2)
    }
    assert told["crps"] == pytest.approx(known.crps / total)
    assert score_raster(engine, engine.methods, 16, lambda *_: None, interval=0.9).interval == 0


def test_looks_are_those_of_whole_frames(engine: Any) -> None:
    """Of the forecast and of the reference that maps are drawn against, frame by frame."""
    band, lead = 1, 2
    scores = score_raster(
        engine, engine.methods, 512, lambda *_: None, events=((0.45,), (285.0, 292.5))
    )
    frames = [
        (
            one.forecasts["forecast"][band],
            one.observed[band],
            scored_pixels(one, engine.methods, band),
        )
        for one in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps)
        if one.lead == lead
    ]
    pooled = scores.fields("forecast", band, lead)
    kept = [frame for frame in frames if frame[2].mean() >= 0.25]
    for name, field in (("moran", 0), ("moran_observed", 1), ("moran_error", None)):
        expected = np.mean(
            [
                autocorrelation((f - o) if field is None else (f, o)[field], ok).moran
                for f, o, ok in kept
            ]
        )
        assert evaluate(name, pooled)[0] == pytest.approx(expected, rel=1e-6)
    sums = sum(fraction_sums(f >= 292.5, o >= 292.5, ok) for f, o, ok in frames)
    found = scores.fraction("forecast", band, lead, 1)
    for scale, (difference, *_) in zip(found, sums, strict=True):
        assert found[scale].difference == pytest.approx(difference)
    values = np.concatenate([f[ok] for f, _, ok in frames])
    observed = np.concatenate([o[ok] for _, o, ok in frames])
    ks = ks_2samp(values, observed).statistic
    assert evaluate("ks_distance", pooled)[0] == pytest.approx(ks, abs=0.02)  # a part's share
    assert set(scores.looks.fields) == {
        (method, b, k)
        for method in ("forecast", map_reference(engine, engine.methods))
        for b in range(2)
        for k in (1, 2, 3)
    }
