"""A model in use: drift, performance, alerts, simulated production."""
