"""Executing plans: scheduler, papermill, kernels, MLflow tracking, progress."""
