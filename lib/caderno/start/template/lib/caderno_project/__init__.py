"""What the notebooks share; tests/ tests it."""
