"""The prediction service.

predictor.py   the processes of one version, run by path ← processes.py (this side of them)
               ← batching.py (questions of many callers together)
signature.py   what a model takes ← tables.py (JSON to that, with complaints); contract.py (ranges, run by path)
sources.py     where models come from ← shelf.py (which versions are served, and their change)
pages.py       for people ← form.py (a row from a form), reading.py (the description in words)
openapi.py     for programs ← schemas.py (of a model), protocols.yaml (of bodies and answers)
"""
