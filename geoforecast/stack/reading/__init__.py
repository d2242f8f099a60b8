"""What the numbers in files mean: sensors, masks, scales, conversions."""
