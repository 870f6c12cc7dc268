"""From a compared candidate to an approved champion, and back: what was decided, by whom, and why.

delivery.py    the steps: release, sign, promote, roll back
candidates.py  which model of a run is the best
evidence.py    what the gate must know, measured ← smoke.py (in a process of its own), statistics.py (pure)
gate.py        what follows from the figures: promote, hold or refuse (pure)
decisions.py   a decision as it is kept, and the digests that are signed
ledger.py      who did what, when and why: a chain of rows, at place.py
standing.py    how a model stands by these rows, and what a version lacks (pure)
registry.py    MLflow's versions and aliases; files.py: a model's files by their SHA-256
pages.py       what reports/ shows of it; telling.py: what the terminal does
"""
