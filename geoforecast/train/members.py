"""Several seeds, and the epochs that were kept once more on more steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from geoforecast.models import Correction
from geoforecast.models.ensemble import Ensemble
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.train.calibrate_classes import calibrate
from geoforecast.train.loop import Loop, Outcome
from geoforecast.train.profile import profile_steps
from geoforecast.train.ranks import ALONE, Ranks
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainer:
    """What it takes to train any number of members.

    Attributes:
        build: makes a new model.
        windows: what to learn from.
        settings: resolved settings; a member's seed counts on from theirs.
        folder: the run's directory.
        identity: see Loop.
        device: where tensors live.
        ranks: the processes that train together.
    """

    build: Callable[[], Correction]
    windows: Windows
    settings: TrainSettings
    folder: Path
    identity: str
    device: torch.device
    ranks: Ranks = ALONE

    def run(self, stop: Stop) -> Outcome:
        """Train all members, weigh their mean, and train them again on more steps.

        The epoch and the weight are chosen on the validation block. Where a correction helped
        there, each member is trained anew for as many epochs on training and validation steps
        together: the newest steps are those most like what is to come. Members of which no epoch
        helped are left out: their nothing would only halve what others say.

        Raises:
            InterruptedRunError: stopped early; what was done is saved.
        """
        outcomes = [self._member(number, stop) for number in range(self.settings.members)]
        kept = tuple(outcome.epoch for outcome in outcomes)
        useful = that_learned(kept)
        if any(kept) and len(useful) < len(kept):
            log.info(
                "%d of %d members learned something; the mean is theirs", len(useful), len(kept)
            )
        weights = [outcomes[number].weights for number in useful]
        model = self._loaded(weights)
        result = self.ranks.from_first(
            lambda: calibrate(model, self.windows, self.settings.seed, self.device)
        )
        if any(result.blend) and self.settings.retrain:
            old = self.windows.split
            both = replace(self.windows, split=Split(old.test, old.test, old.steps))
            log.info("once more, on training and validation steps together")
            weights = replace(self, windows=both)._once_more(kept, "again", stop)
        epochs = sum(outcome.epochs for outcome in outcomes)
        return Outcome(self._loaded(weights).state_dict(), max(kept), result, epochs, kept)

    def run_for(self, epochs: Sequence[int], stop: Stop) -> dict[str, torch.Tensor]:
        """Train members anew for some epochs each, without looking at validation.

        Args:
            epochs: of each member; those of 0 epochs are left out.
            stop: asked before every step.
        Returns:
            Their averaged weights, as one model's.
        Raises:
            InterruptedRunError: stopped early; what was done is saved.
        """
        return self._loaded(self._once_more(epochs, "", stop)).state_dict()

    def _member(self, number: int, stop: Stop) -> Outcome:
        if self.settings.members > 1:
            log.info("member %d of %d", number + 1, self.settings.members)
        loop = self._loop(number, self._place(number))
        if self.settings.profile and not number:
            profile_steps(loop, self.folder)
        return loop.run(stop)

    def _once_more(
        self, epochs: Sequence[int], inside: str, stop: Stop
    ) -> list[dict[str, torch.Tensor]]:
        """Weights of the members that learned after so many epochs; saved inside their folders."""
        weights = []
        for number in that_learned(epochs):
            log.info("member %d of %d: %d epochs", number + 1, len(epochs), epochs[number])
            loop = self._loop(number, self._place(number) / inside)
            weights.append(loop.run_for(epochs[number], stop))
        return weights

    def _loop(self, number: int, folder: Path) -> Loop:
        if self.ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
        settings = replace(self.settings, seed=self.settings.seed + number)
        torch.manual_seed(settings.seed)
        model = self.build().to(self.device)
        place = folder, self.identity, self.device
        return Loop(model, self.windows, settings, *place, self.ranks)

    def _place(self, number: int) -> Path:
        return self.folder / f"member{number + 1}" if number else self.folder

    def _loaded(self, weights: list[dict[str, torch.Tensor]]) -> Correction:
        """The members with these weights, as one model."""
        models = []
        for state in weights:
            model = self.build().to(self.device)
            model.load_state_dict(state)
            models.append(model)
        return (Ensemble(models) if len(models) > 1 else models[0]).eval()


def that_learned(epochs: Sequence[int]) -> list[int]:
    """Numbers of the members that make up the mean: those that kept an epoch, or the first.

    Args:
        epochs: that were kept of each member, 0 if none helped.
    """
    return [number for number, kept in enumerate(epochs) if kept] or [0]
