"""A definition of a portfolio, read off a table that nobody has described."""
