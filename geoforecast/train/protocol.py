"""What of a cube a training may see: a fold of its steps, and the pixels that are not held out.

Whatever a run learns, it learns from what is handed out here: a view without the rest.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoforecast.errors import SettingsError
from geoforecast.raster.cube import Cube
from geoforecast.raster.holdout import HoldOut, held_out_blocks, held_out_regions
from geoforecast.raster.view import view_of
from geoforecast.samples.folds import cut_folds
from geoforecast.samples.normaliser import fit_normaliser, fit_statistics, to_meta
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.values import fold_name, parse_fold

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """What a training works with.

    Attributes:
        cube: all that it may learn from.
        settings: those given; of a fold, the reach that all folds share and its run's name.
        split: as it is stored with the run.
        holdout: pixels that it does not see; None if it sees all.
    """

    cube: Cube
    settings: TrainSettings
    split: dict[str, str]
    holdout: HoldOut | None = None

    @property
    def digest(self) -> str:
        """Of what is held out; "" for nothing."""
        return "" if self.holdout is None else self.holdout.digest


def named(settings: TrainSettings) -> TrainSettings:
    """The settings under the name that the run will have.

    Raises:
        SettingsError: settings of protocols are malformed, or do not go together.
    """
    if settings.folds:
        raise SettingsError(
            f"--folds {settings.folds} means several runs.",
            remedy=f"Name one of them: --fold 1/{settings.folds}.",
        )
    if settings.holdout_region and settings.holdout_blocks:
        raise SettingsError(
            "--holdout-region and --holdout-blocks both say what is held out.",
            remedy="Give one of them.",
        )
    fold = parse_fold(settings.fold)
    if fold is None:
        return settings
    if settings.refit:
        raise SettingsError(
            f"--refit learns from every step, --fold {settings.fold} from those before its test "
            "block.",
            remedy="Train folds with --no-refit; --refit another run for forecasts.",
        )
    return replace(settings, run=fold_name(settings.run, *fold))


def seen_of(cube: Cube, settings: TrainSettings) -> Seen:
    """What settings let a training see of a cube.

    Args:
        cube: all of it.
        settings: from ``named``.
    Raises:
        SeriesTooShortError: the series cannot be cut into so many folds.
        InputError: the hold-out covers nothing, or leaves nothing.
        SettingsError: the hold-out has no room.
    """
    fold, holdout = parse_fold(settings.fold), _holdout(cube, settings)
    if fold is None and holdout is None:
        return Seen(cube, settings, dict(cube.meta["split"]))
    split = Split.from_meta(cube.meta["split"], cube.times)
    if fold is not None:
        cut = cut_folds(len(cube.times), fold[1], settings.lookback, settings.horizon)
        split = cut.splits[fold[0] - 1]
        settings = replace(settings, lookback=cut.lookback, horizon=cut.horizon)
        log.info(
            "fold %s: learning from %d steps, up to %s; tested from %s on, %d steps",
            settings.fold,
            split.seen,
            cube.times[split.seen - 1],
            cube.times[split.test],
            len(split.test_steps),
        )
    if holdout is not None:
        log.info("%s", holdout.describe())
    stored = split.to_meta(cube.times) if fold is not None else dict(cube.meta["split"])
    return Seen(_view(cube, split, stored, holdout), settings, stored, holdout)


def without_holdout(cube: Cube, seen: Seen) -> Cube:
    """All steps of a cube, without what is held out."""
    return cube if seen.holdout is None else view_of(cube, hidden=seen.holdout.hidden)


def _holdout(cube: Cube, settings: TrainSettings) -> HoldOut | None:
    halo_px = settings.holdout_halo
    if settings.holdout_region:
        return held_out_regions(Path(settings.holdout_region).expanduser(), cube.grid, halo_px)
    if settings.holdout_blocks:
        shape = cube.grid.shape
        return held_out_blocks(settings.holdout_blocks, shape, settings.seed, halo_px)
    return None


def _view(cube: Cube, split: Split, stored: dict[str, str], holdout: HoldOut | None) -> Cube:
    """The cube up to the gap or the test block, with statistics of its own."""
    hidden = None if holdout is None else holdout.hidden
    view = view_of(cube, split.seen, hidden, {"split": stored})
    gaps = np.diff(view.times).astype("timedelta64[s]").astype(np.float64)
    meta = {"cadence": {**cube.meta["cadence"], "median_seconds": float(np.median(gaps))}}
    before = cube.meta["normaliser"]
    if before is not None:
        # Of training steps only: statistics of pixels that are hidden read what they measure.
        trained = view_of(view, split.validation)
        statistics = fit_statistics(trained, split.train_steps)
        meta["normaliser"] = to_meta(fit_normaliser(before["method"], statistics), statistics)
    return view_of(view, meta=meta)
