"""The prediction service.

predictor.py   the processes of one version, run by path ← processes.py (this side of them)
               ← batching.py (questions of many callers together)
signature.py   what a model takes ← tables.py (JSON to that, with complaints); contract.py (ranges, run by path)
routes.py      what a project adds: a blueprint of its own
access.py      who may ask ← keys.py, tokens.py (by what they are known), hosts.py (this machine alone)
telemetry.py   lines about requests and events ← metrics.py (figures); headers.py (what browsers may do)
sources.py     where models come from ← shelf.py (which versions are served, and their change)
"""
