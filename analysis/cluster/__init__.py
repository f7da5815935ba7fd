"""A cluster of Dask workers: to find one, and to have it work through a list in order.

Workers are processes, on this machine or on others, that run the same Python and the same
versions. They read and write files by the paths that the caller has: they must see the same file
system.
"""

from analysis.cluster.connection import connect
from analysis.cluster.mapping import map_in_order

__all__ = ["connect", "map_in_order"]
