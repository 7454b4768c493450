"""The definition that every package reads: fields, ranges, codes, outcome, costs."""
