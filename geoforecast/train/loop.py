"""The training loop: seeded by epoch, saved by epoch, so that a killed run goes on exactly."""

from __future__ import annotations

import copy
import csv
import io
import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel
from torch.profiler import record_function

from geoforecast.errors import RunError
from geoforecast.models import Correction
from geoforecast.project import replacing
from geoforecast.settings import TrainSettings
from geoforecast.train.averaging import copied, moving_average
from geoforecast.train.calibrate import Calibration
from geoforecast.train.calibrate_classes import calibrate
from geoforecast.train.capacity import steps_an_epoch
from geoforecast.train.collapse import SHARE, Moments, collapsed, is_constant
from geoforecast.train.last import LAST, as_state, read_last, save_last
from geoforecast.train.losses import find_loss, resolve_loss
from geoforecast.train.pieces import pieces
from geoforecast.train.ranks import ALONE, Ranks, without_batch_norm
from geoforecast.train.shown import Shown
from geoforecast.train.speed import Speed, measured
from geoforecast.train.stop import Stop
from geoforecast.train.targets import first_layer
from geoforecast.train.windows import Windows

log = logging.getLogger(__name__)

LOG = "log.csv"
CLIP_NORM = 1.0
WARM_UP = 0.05  # of all steps
DIVERGED = 10.0  # times the best epoch's loss: lost, and not only unlucky crops
LEAST_LOSS = 0.1  # a best loss below counts as this: the reference's own is several times it
MOST_ROLLBACKS = 3
ROLLBACK = 3.0  # what the rate is divided by
# Parts of a step, as a profiler names them.
SAMPLES, FORWARD, BACKWARD, OPTIMISER = PARTS = ("samples", "forward", "backward", "optimiser")


@dataclass(frozen=True)
class Outcome:
    """What training left behind.

    Attributes:
        weights: the best epoch's averaged weights.
        epoch: that epoch; 0 is the untrained model.
        calibration: its scores and blend.
        epochs: how many were run.
        kept: the epoch kept of each member; empty for a member itself.
    """

    weights: dict[str, torch.Tensor]
    epoch: int
    calibration: Calibration
    epochs: int
    kept: tuple[int, ...] = ()


class DivergedError(Exception):
    """The epoch under way is lost; the message has the figures."""


class Loop:
    """One run's training.

    An epoch that diverges is taken back and done again from the same samples at a third of
    the rate: a loss or gradient that is no number, or a loss beyond DIVERGED times the best.

    Args:
        model: the correction, new, on its device.
        windows: what to learn from.
        settings: resolved settings.
        folder: the run's directory, for last.pt and log.csv.
        identity: of everything that decides the result; a last.pt of another is refused.
        device: where tensors live.
        ranks: the processes that train it together; the first one writes and scores.
    """

    def __init__(
        self,
        model: Correction,
        windows: Windows,
        settings: TrainSettings,
        folder: Path,
        identity: str,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        without_batch_norm(model, ranks)
        loss = resolve_loss(settings.loss, windows.kind)
        self.loss, windows = find_loss(loss), replace(windows, loss=loss)
        self.model, self.windows, self.settings = model, windows, settings
        self.folder, self.identity, self.device = folder, identity, device
        self.ranks = ranks
        self.watched = windows.watched()
        self.average = AveragedModel(model, multi_avg_fn=moving_average)
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        pixels = sum(site.tile.shape[0] * site.tile.shape[1] for site in windows.sites)
        self.steps_an_epoch = steps_an_epoch(pixels, len(windows.train_inits), settings)
        self.epoch = 0
        self.rate_factor, self.rollbacks = 1.0, 0
        self.rows: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best_skill = 0.0
        self.best = copied(model)
        self.speed: Speed | None = None
        self.shown = Shown(folder, settings, ranks.first)

    def run(self, stop: Stop) -> Outcome:
        """Train until the last epoch or until validation stops improving.

        Args:
            stop: asked before every step.
        Raises:
            InterruptedRunError: stopped early; what was done is saved.
        """
        self._resume()
        with self.shown.bar("train", self.epoch, self.settings.epochs):
            while self.epoch < self.settings.epochs and not self._stale():
                self._close_epoch(self._next_epoch(stop))
                row = self.rows[-1]
                self.shown.epoch(row, self.speed)
                log.info(
                    "epoch %d/%d  loss %.4f  validation skill over the reference %.1f %%",
                    self.epoch,
                    self.settings.epochs,
                    row["loss"],
                    100 * row["skill"],
                )
        self.model.load_state_dict(self.best)
        final = self._score(self.model, self.windows)
        if self.ranks.first:
            self._check(final)
        return Outcome(self.best, self.best_epoch, final, self.epoch)

    def run_for(self, epochs: int, stop: Stop) -> dict[str, torch.Tensor]:
        """Train for some epochs of the whole schedule, without looking at validation.

        Returns:
            The averaged weights.
        Raises:
            InterruptedRunError: stopped early; what was done is saved.
        """
        self._resume()
        with self.shown.bar("train again", self.epoch, epochs):
            while self.epoch < epochs:
                row = self._next_epoch(stop)
                self.epoch += 1
                self.rows.append(row)
                self._save()
                self.shown.epoch(row, self.speed)
        return copied(self.average.module)

    def _next_epoch(self, stop: Stop) -> dict[str, Any]:
        """One more epoch, done again from where it began as often as it diverges."""
        good = copy.deepcopy(self.state())
        while True:
            try:
                return self._train_epoch(stop)
            except DivergedError as found:
                self._go_back(good, found)

    def _go_back(self, good: dict[str, Any], found: DivergedError) -> None:
        # Not saved: killed now, the run diverges once more, and comes back here.
        self.rollbacks += 1
        self.rate_factor /= ROLLBACK
        rate = self.settings.lr * self.rate_factor
        if self.rollbacks > MOST_ROLLBACKS:
            raise RunError(
                f"Training diverged {self.rollbacks} times, the last time in epoch "
                f"{self.epoch + 1}: {found}.",
                remedy=f"Try a lower rate: --lr {rate:.1g} --overwrite. If that does not help, "
                "look for wild values in quality/report.html.",
            ) from found
        self.restore(good)
        log.warning(
            "epoch %d diverged (%s): back to epoch %d, peak rate %.2g instead of %.2g",
            self.epoch + 1,
            found,
            self.epoch,
            rate,
            rate * ROLLBACK,
        )

    def step(
        self, rng: np.random.Generator, number: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """Learn from one batch.

        Args:
            rng: the epoch's generator.
            number: of the step in the epoch.
        Returns:
            What the model said of the batch, what it should have said, where that is known, and
            the loss.
        Raises:
            DivergedError: loss or gradient is no number.
        """
        size = self.settings.batch_size
        share = self.ranks.share(size)
        with record_function(SAMPLES):
            parts = self.windows.batch(rng, size, self.settings.patch, share)
            x, target, known = (part.to(self.device) for part in parts)
        rate = self._rate(self.epoch * self.steps_an_epoch + number) * self.rate_factor
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        correction, value = self._learn(x, target, known, share)
        with record_function(OPTIMISER):
            norm = float(clip_grad_norm_(self.model.parameters(), CLIP_NORM))
            if not (math.isfinite(value) and math.isfinite(norm)):
                raise DivergedError(f"loss {value:.3g}, gradient norm {norm:.3g}")
            self.optimiser.step()
            self.average.update_parameters(self.model)
        return correction, target, known, value

    def _train_epoch(self, stop: Stop) -> dict[str, Any]:
        # The epoch's number seeds it: nothing of a generator's state needs saving.
        rng = np.random.default_rng([self.settings.seed, 3, self.epoch])
        self.model.train()
        total, begun = 0.0, time.perf_counter()
        for step in range(self.steps_an_epoch):
            self.ranks.check(stop, self._saved())
            correction, target, known, value = self.step(rng, step)
            total += value
        mean = total / self.steps_an_epoch
        best = min((row["loss"] for row in self.rows), default=math.inf)
        if mean > DIVERGED * max(best, LEAST_LOSS):
            raise DivergedError(f"loss {mean:.3g}, best so far {best:.3g}")
        samples = self.steps_an_epoch * self.settings.batch_size
        self.speed = measured(self.epoch + 1, samples, begun, self.device)
        wanted = Moments.of(first_layer(target, known), known)
        return self._row(mean, Moments.of(correction, known), wanted)

    def _saved(self) -> str:
        return f"epoch {self.epoch} is saved" if self.epoch else "no epoch is saved yet"

    def _row(self, loss: float, said: Moments, wanted: Moments) -> dict[str, Any]:
        """What the log keeps of an epoch: ``said`` and ``wanted`` are of its last batch."""
        spread = math.sqrt(said.variation / wanted.variation) if wanted.variation else 0.0
        varied = any(row["spread"] >= SHARE for row in self.rows[-1:])
        if varied and is_constant(said, wanted):
            log.warning("epoch %d: the correction is now the same everywhere", self.epoch + 1)
        return {
            "epoch": self.epoch + 1,
            "loss": loss,
            "rate_factor": self.rate_factor,
            "spread": spread,
        }

    def _close_epoch(self, row: dict[str, Any]) -> None:
        averaged: Any = self.average.module
        result = self._score(averaged, self.watched)
        self.epoch += 1
        row["skill"] = result.skill
        for lead, weight in enumerate(result.blend, 1):
            row[f"blend_lead{lead}"] = float(weight)
            row[f"rmse_lead{lead}"] = float(result.forecast_rmse[lead - 1])
        self.rows.append(row)
        if result.skill > self.best_skill:
            self.best_skill, self.best_epoch = result.skill, self.epoch
            self.best = copied(averaged)
        self._save()

    def _learn(
        self, x: torch.Tensor, target: torch.Tensor, known: torch.Tensor, share: slice
    ) -> tuple[torch.Tensor, float]:
        """Gradients of a batch; returns what the model says of it, and the loss.

        Args:
            x: (sample, step, channel, y, x) of this process's share.
            target, known: of the whole batch; see losses.
            share: the samples of ``x``.
        """
        self.optimiser.zero_grad(set_to_none=True)
        count = self.loss.count(target, known)
        answers, loss = [], torch.zeros((), device=self.device)
        for piece in pieces(self.model, x.shape):
            with record_function(FORWARD):
                answer = self.model(x[piece], self.windows.horizon)
                there = slice(share.start + piece.start, share.start + piece.stop)
                part = self.loss.total(answer, target[there], known[there]) / count
            with record_function(BACKWARD):
                part.backward()
            loss += part.detach()
            answers.append(answer.detach())
        self.ranks.add_gradients(self.model.parameters())
        return self.ranks.together(answers, known.shape), self.ranks.sum(loss)

    def _score(self, model: Any, windows: Windows) -> Calibration:
        return self.ranks.from_first(
            lambda: calibrate(model.eval(), windows, self.settings.seed, self.device)
        )

    def _check(self, final: Calibration) -> None:
        """Warn where the epoch that is kept says one thing everywhere."""
        place = self.watched, final.blend, self.settings.seed, self.device
        for what in collapsed(self.model, *place):
            log.warning(
                "collapse: %s on the validation block (spread below %g %% of what it should be); "
                "try a lower --lr or another --seed, or leave the correction out: --model none",
                what,
                100 * SHARE,
            )

    def _stale(self) -> bool:
        return self.epoch - self.best_epoch >= self.settings.patience

    def _rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to a hundredth."""
        total = self.settings.epochs * self.steps_an_epoch
        warm_up = max(1, round(WARM_UP * total))
        if step < warm_up:
            return self.settings.lr * (step + 1) / warm_up
        progress = (step - warm_up) / max(1, total - warm_up)
        return self.settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def _save(self) -> None:
        if not self.ranks.first:
            return
        # The log first: killed in between, the next run trains this epoch and its row again.
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.rows[0]))
        writer.writeheader()
        writer.writerows(self.rows)
        with replacing(self.folder / LOG) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
        state = {
            "identity": self.identity,
            "device": self.device.type,
            **self.state(),
            "epoch": self.epoch,
            "rate_factor": self.rate_factor,
            "rollbacks": self.rollbacks,
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "best_skill": self.best_skill,
            "best": self.best,
        }
        save_last(self.folder, state)

    def state(self) -> dict[str, Any]:
        """What steps change; the tensors are those that they change."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a copy of state()."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _resume(self) -> None:
        body = self.ranks.from_first(lambda: read_last(self.folder))
        if not body:
            return
        state = as_state(body, self.device)
        if state["identity"] != self.identity:
            raise RunError(
                f"The unfinished run '{self.folder.name}' has other settings or another cube.",
                where=str(self.folder / LAST),
                remedy="Use the same settings to go on, or --overwrite to begin again.",
            )
        if state["device"] != self.device.type:
            log.warning(
                "begun on %s, going on on %s: the result will not be that of one device",
                state["device"],
                self.device.type,
            )
        self.restore(state)
        self.epoch, self.rows = state["epoch"], state["rows"]
        self.rate_factor, self.rollbacks = state["rate_factor"], state["rollbacks"]
        self.best_epoch, self.best_skill = state["best_epoch"], state["best_skill"]
        self.best = state["best"]
        log.info("going on after epoch %d", self.epoch)
