"""What the demo and the benchmarks do to a cluster: applications, upgrades under load, and tables of what came out."""
