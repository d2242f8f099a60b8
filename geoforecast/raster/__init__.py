"""The ground: grids, GeoTIFFs, resampling and the cube. Nothing here knows about forecasts."""
