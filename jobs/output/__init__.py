"""The output folder: what is done, planned, locked and newest."""
