"""Training and comparison of models as Prefect flows."""
