"""Caderno: from a folder of Jupyter notebooks to a delivered model. The engine; it knows no domain."""
