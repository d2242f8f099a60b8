"""From hindcasts to scores: what is summed of tiles, in whole and in parts, as tidy rows."""
