"""From cube to training samples: time split, normaliser, windows and patches."""
