"""From a table of past loans to a reviewed, calibrated, explained probability of default behind an HTTP API."""
import os

__version__ = "0.1.0"

# Whoever waits for another thread sleeps instead of spinning. On a machine that does other work too, spinning makes
# XGBoost several times slower. OpenMP reads this once, when the library is first imported, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
