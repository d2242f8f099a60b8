"""What reports share: ticks, colours, words and maps the right way up."""
