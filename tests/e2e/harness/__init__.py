"""What e2e tests, the demo and the benchmarks share: the cluster's API, waits, load, releases, the operator.

`kube` speaks to the API server, `waiting` waits on conditions, `load_run` plays users from a Pod,
`releases` follows a ControlPlaneRelease, `operator_install` and `mc_install` install the charts,
`postgres` is mc's database with its standby, `podinfo` builds the release of an application that knows nothing of us.
"""
