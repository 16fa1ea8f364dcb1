"""The running operator: kopf wiring, leadership, one turn per release, background samples, health endpoints."""
