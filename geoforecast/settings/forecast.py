"""The settings of train, predict and validate: the sections of those names."""

from __future__ import annotations

import dataclasses

from geoforecast.settings.field import setting
from geoforecast.settings.presets import preset_names
from geoforecast.settings.standards import NO_STANDARD, STANDARDS


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
    fold: str = setting(
        "",
        "train one of several folds, I from 1 to K, on what lies before its test block; the run is "
        "called NAME.foldIofK",
        metavar="I/K",
    )
    folds: int = setting(
        0, "train all of so many folds, one after the other; 0: none", minimum=0, metavar="K"
    )
    holdout_region: str = setting(
        "",
        "polygons (GeoPackage, GeoJSON, Shapefile) whose pixels training never sees; validate "
        "scores them by themselves",
        metavar="FILE",
    )
    holdout_blocks: int = setting(
        0,
        "the same for so many blocks, a fifth of the pixels, drawn by the seed; 0: none",
        minimum=0,
        metavar="N",
    )
    holdout_halo: int = setting(
        9,
        "pixels about a hold-out that training does not see either; as far as the usual correction "
        "looks around itself",
        minimum=0,
        metavar="PIXELS",
    )
    seed: int = setting(0, "seed of every random draw", minimum=0)
    patience: int = setting(
        12, "epochs without a better validation score before stopping", minimum=1
    )
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )
    precision: str = setting(
        "auto",
        "what gates are convolved in; states and sums stay in fp32; auto: bf16 on GPUs that have "
        "it, else fp32",
        choices=("auto", "fp32", "bf16"),
        metavar=None,
    )
    time_limit: str = setting(
        "",
        "stop cleanly after this long, such as 50min or 3h, and exit 75; running again goes on",
        metavar="TIME",
    )
    cache: str = setting(
        "auto",
        "where decoded samples are kept: memory, or a folder on a disk of this machine; auto: in "
        "memory, or in $SLURM_TMPDIR where there is too little of it",
        metavar="DIR",
    )
    tensorboard: bool = setting(False, "write TensorBoard's event files, to runs/NAME/tensorboard/")
    profile: bool = setting(
        False, "write where a step spends its time, to runs/NAME/profile/, before training"
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
    bias_correct: str = setting(
        "none",
        "map forecasts to the distribution of what came after earlier ones, on the validation "
        "block and later; validate says whether it pays",
        choices=("none", "mean-variance", "quantile"),
        metavar=None,
    )
    smooth: float = setting(
        0.0,
        "smooth forecasts in time, with a bell of so many steps; 0: not at all",
        minimum=0,
        maximum=50,
        metavar="STEPS",
    )
    clip: bool = setting(
        True, "hold forecasts within what the band can be, such as 0 and more for counts"
    )
    vrt: bool = setting(
        False, "write one file a layer as well, which holds all valid times as bands (a VRT)"
    )
    tile: int = setting(
        256,
        "side of the tiles in pixels, less where memory is short; never changes the result",
        minimum=16,
    )
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )


@dataclasses.dataclass(frozen=True)
class ValidateSettings:
    """How a run is verified: section [validate]."""

    run: str = setting("default", "name of the run to verify", metavar="NAME")
    folds: int = setting(
        0,
        "score the test blocks of so many folds together, each forecast by its own fold's run; 0: "
        "one run",
        minimum=0,
        metavar="K",
    )
    when_observed: bool = setting(
        False,
        "score the forecasts that predict wrote, as they are, wherever their scene has come since",
    )
    forecast: str = setting(
        "",
        "folder of forecasts, whoever made them, to score against --observed instead of a run",
        metavar="DIR",
    )
    observed: str = setting(
        "",
        "folder of what came, read as [stack] says, on the grid of the forecasts; earlier scenes "
        "make the simple forecasts",
        metavar="DIR",
    )
    kind: str = setting(
        "auto",
        "of --forecast and --observed: categorical keeps class codes as they are, and 0 and 1; "
        "auto is what [stack] says",
        choices=("auto", "continuous", "categorical"),
    )
    interval: float = setting(
        0.9,
        "share that the verified interval shall cover; 0: none is verified",
        minimum=0,
        maximum=0.99,
    )
    fail_under: tuple[str, ...] = setting(
        (),
        "exit 1 unless the mean over leads reaches this: rmse-skill=0 for skill above 0, rmse=0.1 "
        "for errors of 0.1 at most, csi-0.1=0.5 for events; comma-separated",
        metavar="METRIC=X",
    )
    standard: str = setting(
        NO_STANDARD,
        "hold the scores against the criteria of a standard",
        choices=(NO_STANDARD, *STANDARDS),
        metavar=None,
    )
    strict: bool = setting(False, "exit 1 unless every criterion of the standard is met")
    events: tuple[float | str, ...] = setting(
        (),
        "thresholds of events, in band units, ascending, that are scored as forecast or missed, "
        "or `none`; default: 0.1,1,5 for bands in mm/h, none for others",
        metavar="X,X",
    )
    regions: str = setting(
        "",
        "polygons (GeoPackage, GeoJSON, Shapefile) whose pixels are scored by themselves as well",
        metavar="FILE",
    )
    by: str = setting(
        "",
        "GeoTIFF of classes, such as land cover, each of which is scored by itself as well",
        metavar="FILE",
    )
    ranges: tuple[float, ...] = setting(
        (),
        "edges of ranges of observed values, in band units, each of which is scored by itself as "
        "well; no forecast should be chosen by one of them alone",
        metavar="X,X",
    )
    bias_correct: str = setting(
        "none",
        "map forecasts to the distribution of what came after earlier ones, on the validation "
        "block and later; as predict does",
        choices=("none", "mean-variance", "quantile"),
        metavar=None,
    )
    smooth: float = setting(
        0.0,
        "smooth forecasts in time, with a bell of so many steps; as predict does",
        minimum=0,
        maximum=50,
        metavar="STEPS",
    )
    clip: bool = setting(True, "hold forecasts within the range of their band, as predict does")
    tile: int = setting(
        0,
        "side of the tiles in pixels; 0: 512, or more where forecasts reach far; never changes the "
        "result",
        minimum=0,
        metavar="PIXELS",
    )
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )
