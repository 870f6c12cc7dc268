"""From a compared candidate to an approved champion, and back: what was decided, by whom, and why.

statistics.py  is one model better than another on the same rows? (pure)
gate.py        what follows from the figures: promote, hold or refuse (pure)
ledger.py      who decided, approved, promoted, rolled back what, when and why: a chain of rows
rebuild.py     a past result built once more from its record, and what differs (verdict.py says it)
"""
