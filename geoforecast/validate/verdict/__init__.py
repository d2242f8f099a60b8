"""What scores mean: in words, against standards and gates, and what is suspicious."""
