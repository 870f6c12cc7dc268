"""The prediction service.

predictor.py   the processes of one version, run by path ← processes.py (this side of them)
               ← batching.py (questions of many callers together)
signature.py   what a model takes ← tables.py (JSON to that, with complaints) ← tensors.py, values.py (one value);
               contract.py (ranges, run by path)
tfserving.py, inference.py, scoring.py: one protocol each, on answering.py (what they share) and bodies.py (JSON)
routes.py      what a project adds: a blueprint of its own
access.py      who may ask ← keys.py, tokens.py (by what they are known), hosts.py (this machine alone)
telemetry.py   lines about requests and events ← metrics.py (figures); headers.py (what browsers may do)
sources.py     where models come from ← shelf.py (which versions are served, and their change)
journal.py     the log of predictions ← logbook.py (its file); shadow.py (the challenger answers, too, and nobody waits)
comparison.py  what the log says ← drift.py (how far features have moved), telling.py (on the terminal)
pages.py       for people ← form.py (a row from a form), reading.py (the description in words)
openapi.py     for programs ← schemas.py (of a model), protocols.yaml (of bodies and answers)
"""
