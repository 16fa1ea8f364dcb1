"""Maestro Conductor: upgrades control planes blue/green and takes a bad upgrade back in seconds."""

__version__ = "0.1.0"
