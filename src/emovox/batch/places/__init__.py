"""Where files lie: a path of this machine, or a URL such as ``s3://bucket/calls/1.wav``; one way to both.

A place is a string, as it was typed. A local one needs nothing but Python. A URL is opened by fsspec (the
extra ``distributed``, or ``s3`` and ``gcs`` for these stores), and who may open it is told by the environment
or by the store's own settings, never by the URL: one that carries a password is refused, and whatever names
a place in an error or in a row goes through ``veiled``.

A file is written whole or not at all. Locally ``files.replaced`` sees to it; a store gets it in one upload,
which is seen when it is complete.
"""

from emovox.batch.places.listing import glob, walk
from emovox.batch.places.names import has_magic, is_local, is_url, joined, local_path, veiled
from emovox.batch.places.reading import MAX_BYTES, exists, is_folder, opened, read, source
from emovox.batch.places.writing import remove, write, written

__all__ = [
    "MAX_BYTES",
    "exists",
    "glob",
    "has_magic",
    "is_folder",
    "is_local",
    "is_url",
    "joined",
    "local_path",
    "opened",
    "read",
    "remove",
    "source",
    "veiled",
    "walk",
    "write",
    "written",
]
