"""What the files are: named, listed, dated, told apart, paired with masks."""
