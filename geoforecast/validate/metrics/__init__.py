"""Metrics, one function each, of pooled sums, fields, members, courses or shifts."""
