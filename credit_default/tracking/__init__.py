"Runs and models in MLflow, and models on the Hugging Face Hub."
