"""What forecasts from one step must know of earlier errors, settled once for many processes.

Learning goes through the whole record. Processes that share the work of one forecast read what
the first of them learned; they save its time, and none depends on how another machine's
libraries order additions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from geoforecast.errors import ProjectError
from geoforecast.forecast.bias import Bias, Transfer
from geoforecast.forecast.engine import Engine
from geoforecast.forecast.evidence import Watch
from geoforecast.forecast.trust import Trust
from geoforecast.references.autoregression import rule_names
from geoforecast.references.mixture import MIXTURE, Knowledge

Floats = NDArray[np.float64]
ARRAYS = tuple(field.name for field in dataclasses.fields(Knowledge) if field.name != "members")
EVIDENCE = "evidence"
TRANSFER = "transfer"


@dataclasses.dataclass(frozen=True)
class Settled:
    """What is known when forecasts are made.

    Attributes:
        knowledge: of the mixture's errors by step: the init step, and those before it whose
            forecasts the lookback compares with what came.
        evidence: (4, lead) of the correction's use at the init step; see forecast.trust.
        transfer: (lead, band, 2, n) what takes the bias out; see forecast.bias. Empty for none.
    """

    knowledge: Mapping[int, Knowledge]
    evidence: Floats
    transfer: Floats

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        arrays = {
            EVIDENCE: np.ascontiguousarray(self.evidence),
            TRANSFER: np.ascontiguousarray(self.transfer),
        }
        for step, known in self.knowledge.items():
            for name in ARRAYS:
                arrays[f"{step}/{name}"] = np.ascontiguousarray(getattr(known, name))
        save_file(arrays, path)


def settle(engine: Engine, init_step: int) -> Settled:
    """Learn what forecasts from a step must know."""
    first = max(0, init_step - engine.checkpoint.lookback)
    steps = range(first, init_step + 1) if engine.reference == MIXTURE else ()
    knowledge = {step: engine.watch.knowledge(step) for step in steps}
    blended = bool(engine.checkpoint.evidence) and any(engine.blend)
    evidence = engine.trust.evidence(init_step) if blended else np.zeros((4, 0))
    transfer = np.zeros(0) if engine.bias is None else engine.bias.at(init_step).table
    return Settled(knowledge, evidence, transfer)


def read_settled(path: Path, references: Sequence[str]) -> Settled:
    """What another process has learned.

    Args:
        path: from Settled.save.
        references: that are mixed.
    Raises:
        ProjectError: the file is damaged.
    """
    try:
        arrays = load_file(path)
        evidence, transfer = arrays.pop(EVIDENCE), arrays.pop(TRANSFER)
        steps = sorted({int(name.partition("/")[0]) for name in arrays})
        members = (*references, *rule_names())
        knowledge = {
            step: Knowledge(members, **{name: arrays[f"{step}/{name}"] for name in ARRAYS})
            for step in steps
        }
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ProjectError(
            f"{path} is damaged: {error}.", remedy=f"Remove {path.parent}, then try again."
        ) from error
    return Settled(knowledge, evidence, transfer)


def with_settled(engine: Engine, settled: Settled, **changes: object) -> Engine:
    """An engine that knows, and learns nothing by itself.

    Args:
        engine: of the same run and cube.
        settled: what it knows.
        changes: other fields that are replaced.
    """
    known = dataclasses.replace(
        engine,
        watch=_Recalled(engine.watch, settled),
        **changes,  # type: ignore[arg-type]
    )
    # Cached properties: these are their values, so that they never look at the record.
    vars(known)["trust"] = _RecalledTrust(settled)
    vars(known)["bias"] = (
        _RecalledBias(engine.finishing.bias, settled) if settled.transfer.size else None
    )
    return known


class _Recalled(Watch):
    """Knowledge that was learned elsewhere."""

    def __init__(self, watch: Watch, settled: Settled) -> None:
        self.series, self.leads, self.tiles = watch.series, watch.leads, watch.tiles
        self._settled = settled

    def knowledge(self, step: int) -> Knowledge:
        return self._settled.knowledge[step]


class _RecalledTrust(Trust):
    """Evidence that was gathered elsewhere; it holds at the init step only."""

    def __init__(self, settled: Settled) -> None:
        self._settled = settled

    def evidence(self, _step: int) -> Floats:
        return self._settled.evidence


class _RecalledBias(Bias):
    """Maps that were fitted elsewhere; they hold at the init step only."""

    def __init__(self, method: str, settled: Settled) -> None:
        self._transfer = Transfer(method, settled.transfer)

    def at(self, _step: int) -> Transfer:
        return self._transfer
