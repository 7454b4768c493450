"""The one definition that everything reads: fields, ranges, codes, outcome, costs."""
