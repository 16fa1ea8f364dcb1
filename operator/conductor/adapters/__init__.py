"""The only modules that speak to the outside: the Kubernetes API, Prometheus, the data path."""
