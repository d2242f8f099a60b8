"""What is computed or added: indices, expressions, static layers, drivers."""
