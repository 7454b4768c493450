"""A model in use: drift, performance, alerts, and simulated production."""
