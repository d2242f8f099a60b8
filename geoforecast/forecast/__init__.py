"""The engine: checkpoint + cube + init time -> forecasts of a tile, and hindcasts of it."""
