"""Reads the cluster and the background samples into one frozen Snapshot."""
