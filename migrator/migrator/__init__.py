"""The runner of migration Jobs.

One verb a run (inspect, expand, migrate, contract or backout), over the SQL files of one image and the
database of one control plane. What was done stands in the ledger, a schema of its own in that same database;
what came of this run is one JSON answer in the container's termination message.
"""
