"""Services that run."""

from __future__ import annotations

from deliver.conftest import delivered, prepared

__all__ = ["delivered", "prepared"]
