"""The managed control plane `mc`: an HTTP API and a worker over PostgreSQL, in versions that differ."""
