"""The settings of train, predict and validate: the sections of those names."""

from __future__ import annotations

import dataclasses

from geoforecast.settings.field import setting
from geoforecast.settings.presets import preset_names


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How a run is trained: section [train]."""

    run: str = setting("default", "name of the run", metavar="NAME")
    preset: str = setting(
        "",
        f"settings known by a name, in the place of defaults: {', '.join(preset_names('train'))}",
        metavar="NAME",
    )
    bands: tuple[str, ...] = setting(
        (), "bands of the cube to forecast, by name, comma-separated; default: all", metavar="B,B"
    )
    inputs: tuple[str, ...] = setting(
        (),
        "further bands whose past the correction sees but that are not forecast, "
        "comma-separated, or `none`; default: all that --bands leaves",
        metavar="B,B",
    )
    static: bool = setting(True, "let the correction see the cube's static layers")
    drivers: bool = setting(
        True, "let the correction see the cube's drivers, up to the time that is forecast"
    )
    model: str = setting(
        "auto",
        "architecture of the correction, a file of models/; none: the mixture alone; auto: "
        "convlstm, or none below 28 steps before the test block",
    )
    reference: str = setting("auto", "forecast to correct; auto: the mixture of all references")
    kind: str = setting(
        "auto",
        "what is forecast; auto: categorical if the cube holds classes, binary if it holds only "
        "0 and 1, else continuous",
        choices=("auto", "continuous", "count", "binary", "categorical"),
        metavar=None,
    )
    loss: str = setting(
        "auto",
        "what training lowers; auto: what suits the kind of targets",
        choices=("auto", "huber", "mse", "poisson", "bce", "focal", "cross-entropy"),
        metavar=None,
    )
    epochs: int = setting(
        0, "most passes over the training samples; 0: 40, fewer if each takes long", minimum=0
    )
    lookback: int = setting(
        0, "input steps; 0: 6, fewer if the series is short", minimum=0, metavar="STEPS"
    )
    horizon: int = setting(
        0,
        "predicted steps; 0: 3, fewer if the series is short",
        minimum=0,
        metavar="STEPS",
    )
    hidden: int = setting(
        0, "channels of each recurrent layer; 0: 16, or 8 if the series is short", minimum=0
    )
    layers: int = setting(0, "recurrent layers; 0: 1", minimum=0)
    kernel: int = setting(3, "odd kernel size in pixels", minimum=1)
    peepholes: bool = setting(False, "let the gates of convlstm see the cell state")
    members: int = setting(
        3, "models trained from different seeds, whose mean is the correction", minimum=1
    )
    retrain: bool = setting(
        True,
        "once the epochs are chosen, train them again on training and validation steps together",
    )
    refit: bool = setting(
        False,
        "once all is scored, fit everything again on all steps, those of the test block as well, "
        "for forecasts of what comes next",
    )
    lr: float = setting(3e-3, "peak learning rate", above=0)
    weight_decay: float = setting(
        1e-4, "how fast AdamW draws weights to 0; 0: plain Adam", minimum=0
    )
    batch_size: int = setting(8, "samples a step", minimum=1)
    patch: int = setting(32, "side of the training crops in pixels", minimum=4, metavar="PIXELS")
    seed: int = setting(0, "seed of every random draw", minimum=0)
    patience: int = setting(
        12, "epochs without a better validation score before stopping", minimum=1
    )
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )
    time_limit: str = setting(
        "",
        "stop cleanly after this long, such as 50min or 3h, and exit 75; running again goes on",
        metavar="TIME",
    )
    overwrite: bool = setting(False, "train again, whatever is there")


@dataclasses.dataclass(frozen=True)
class PredictSettings:
    """Which forecasts are written: section [predict]."""

    run: str = setting("default", "name of the run to use", metavar="NAME")
    steps: int = setting(0, "steps to forecast; 0: the run's horizon", minimum=0)
    interval: float = setting(
        0.9,
        "share of what comes that lies between the lower and upper map; 0: no such maps",
        minimum=0,
        maximum=0.99,
    )
    samples: int = setting(
        0,
        "draws of what may come to write beside the forecast, which err in patches as it does",
        minimum=0,
        maximum=200,
        metavar="NUMBER",
    )
    seed: int = setting(0, "seed of the samples", minimum=0)
    from_: str = setting(
        "",
        "forecast from this date of the cube instead of its end",
        flags=("--from",),
        metavar="DATE",
    )
    tile: int = setting(512, "side of the tiles in pixels; never changes the result", minimum=16)
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )


@dataclasses.dataclass(frozen=True)
class ValidateSettings:
    """How a run is verified: section [validate]."""

    run: str = setting("default", "name of the run to verify", metavar="NAME")
    interval: float = setting(
        0.9,
        "share that the verified interval shall cover; 0: none is verified",
        minimum=0,
        maximum=0.99,
    )
    fail_under: tuple[str, ...] = setting(
        (),
        "exit 1 unless METRIC-skill over the best reference exceeds this, e.g. rmse-skill=0",
        metavar="METRIC-skill=X",
    )
    events: tuple[float | str, ...] = setting(
        (),
        "thresholds of events, in band units, ascending, that are scored as forecast or missed, "
        "or `none`; default: 0.1,1,5 for bands in mm/h, none for others",
        metavar="X,X",
    )
    tile: int = setting(512, "side of the tiles in pixels; never changes the result", minimum=16)
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )
