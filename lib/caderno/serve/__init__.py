"""The prediction service.

predictor.py   the processes of one version, run by path ← processes.py (this side of them)
               ← batching.py (questions of many callers together)
signature.py   what a model takes ← tables.py (JSON to that, with complaints); contract.py (ranges, run by path)
sources.py     where models come from ← shelf.py (which versions are served, and their change)
journal.py     the log of predictions ← logbook.py (its file); shadow.py (the challenger answers, too, and nobody waits)
comparison.py  what the log says ← drift.py (how far features have moved), telling.py (on the terminal)
"""
