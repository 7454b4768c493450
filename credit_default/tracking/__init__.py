"Runs and models in MLflow."
