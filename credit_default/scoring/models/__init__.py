"""The kinds of model that a bundle may hold, on numpy and the booster alone."""
