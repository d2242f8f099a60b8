"""geoforecast: from a folder of GeoTIFFs to georeferenced forecasts with honest skill.

The public functions are one a verb: :func:`geoforecast.stack.stack_scenes`,
:func:`geoforecast.train.train_model`, :func:`geoforecast.predict.predict_rasters` and
:func:`geoforecast.validate.validate_run`. They share a :class:`geoforecast.project.Project`.
"""

__version__ = "0.1.0"
