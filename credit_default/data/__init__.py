"""From files to checked rows with provenance: sources, data sets, splits, the synthetic sample."""
