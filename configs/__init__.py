"""The recipes and clusters as YAML; installed, this folder is the package ``heartbeat_core.configs``."""
