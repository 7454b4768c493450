"""What a validator asks of a model: metrics, charts, validation, leakage."""
