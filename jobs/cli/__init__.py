"""The command ``heartbeat``."""
