"""The drivers of heartbeat: arguments to settings to jobs on a Dask cluster."""
