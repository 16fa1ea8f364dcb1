"""Stories that are written down as golden logs, by what they are about. Their docstrings are the logs' titles."""
