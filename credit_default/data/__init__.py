"""From files to checked rows with their provenance: sources, data sets, splits, the synthetic sample."""
