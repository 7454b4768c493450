"""Charts of the reports, each a function that returns a matplotlib figure."""
