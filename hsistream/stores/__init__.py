"""Arrays and tables on disk: the only door to zarr."""
