"""Data contracts: what a table must be like before anything is written or built on it.

`check(table, contract, source=…, previous=…)` lets a table through or lists every breach. The contracts themselves are
in `schemas.bureau`, `schemas.weather` and `schemas.registry`; import those that you use.
"""

from flights.schemas.contract import Contract, check

__all__ = ["Contract", "check"]
