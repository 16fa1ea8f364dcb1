"""A Kubernetes cluster for tests and the demo: one interface, three ways to get one.

`interface` holds the interface and the choice; `existing`, `kind` and `local` are the ways. Run it as
`PYTHONPATH=tests/e2e python -m cluster up`. Only the standard library is used, so that it starts on a bare machine.
"""
