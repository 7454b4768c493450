"""What a validator needs: metrics, charts, validation, the leakage audit."""
