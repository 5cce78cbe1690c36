"""The science of heartbeat: bytes of a heart-sound recording to frames, alignment and prediction.

Nothing here knows Dask; the drivers live in ``jobs``.
"""

__version__ = "0.1.0"
