"""The demo: a control plane upgraded under load, refused once and taken back once, shown live and counted up.

`python -m demo` runs it and leaves the cluster; `python -m demo down` removes every trace.
"""
