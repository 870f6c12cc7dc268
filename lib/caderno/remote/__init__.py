"""Results between machines: what a colleague ran, you need not.

    elsewhere.py  what a plan and a run ask: which results are there, pull one, push one
    parcel.py     a result on its way: its record with the list of its files, and what of it is checked
    transfer.py   its files, one by one: into a folder beside the results, or out of the store
    place.py      what a place for results must be able to do
    files.py      a shared folder, or what a fsspec URL names

Another such place, the artifacts of MLflow runs, is in run/artifacts.py, which may know MLflow.
"""

from caderno.remote.elsewhere import Elsewhere
from caderno.remote.files import Files
from caderno.remote.place import Place

__all__ = ["Elsewhere", "Files", "Place"]
