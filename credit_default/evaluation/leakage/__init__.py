"""The leakage audit: which columns of a table know the outcome, and how that shows."""
