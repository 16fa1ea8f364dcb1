"""Removing every trace of the demo, and the proof of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from cluster import leftovers
from cluster.errors import ClusterError
from cluster.interface import Cluster
from cluster.local import LocalCluster
from conductor.cli.style import lasting
from demo import ownership
from demo.board import Board
from demo.errors import DemoError
from demo.options import Options
from harness import operator_install
from harness.kube import Kube, connect
from harness.namespaces import delete_namespace


def take_down(options: Options, cluster: Cluster, board: Board) -> None:
    """A cluster of ours goes as a whole; in one of the user's, what the demo made there goes. Raises DemoError."""
    started = time.monotonic()
    if cluster.way == "existing":
        os.environ.update(cluster.environment())
        with connect() as kube:
            left = remove_from(kube, options, board)
    else:
        left = remove_cluster(cluster, board)
    if left:
        raise DemoError("still there after everything was removed:\n  " + "\n  ".join(left))
    board.say(
        f"  {board.style.mark('good')} nothing of the demo is left ({lasting(time.monotonic() - started)})"
    )


def remove_cluster(cluster: Cluster, board: Board) -> list[str]:
    """Stop the cluster and look for what is left of it: processes, mounts, links, control groups, files."""
    kubeconfig = cluster.environment()["KUBECONFIG"] if Path("/proc").exists() else ""
    for pid, words in clients_of(kubeconfig):
        board.say(f"  {board.style.mark('now')} ending process {pid}: {words}")
        os.kill(pid, signal.SIGTERM)
    board.say(f"  {board.style.mark('now')} stopping the {cluster.way} cluster")
    try:
        cluster.down()
    except ClusterError as error:
        return [str(error)]
    left = [f"process {pid}: {words}" for pid, words in clients_of(kubeconfig)]
    if isinstance(cluster, LocalCluster):
        left += leftovers.found(cluster)
        board.say(
            f"  {board.style.mark('good')} looked for processes, mounts, links, control groups and files"
        )
    return left


def clients_of(kubeconfig: str) -> list[tuple[int, str]]:
    """kubectl processes that speak to this cluster: a demo that was killed leaves its proxy behind."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            surroundings = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended, or belongs to somebody else
        if Path(words[0]).name == "kubectl" and kubeconfig and f"KUBECONFIG={kubeconfig}" in surroundings:
            found.append((int(entry.name), " ".join(words).strip()[:100]))
    return found


def remove_from(kube: Kube, options: Options, board: Board) -> list[str]:
    """Delete what the demo brought and nothing else; answers what of it is still there."""
    for name in own_namespaces(kube, options):
        board.say(f"  {board.style.mark('now')} deleting namespace {name}")
        delete_namespace(kube, name)
    others = ownership.other_releases(kube)
    if not ownership.is_ours(kube, operator_install.NAMESPACE):
        board.say(f"  {board.style.mark('skipped')} the operator stays as it was: the demo did not bring it")
    elif others:
        board.say(f"  {board.style.mark('skipped')} the operator stays: it looks after {', '.join(others)}")
    else:
        board.say(f"  {board.style.mark('now')} removing the operator and its resource definition")
        ownership.remove_operator(kube)
    if ownership.is_ours(kube, ownership.MONITORING):
        board.say(f"  {board.style.mark('now')} removing Prometheus")
        ownership.remove_prometheus(kube)
    return own_namespaces(kube, options)


def own_namespaces(kube: Kube, options: Options) -> list[str]:
    found = sorted(ownership.namespaces(kube))
    return [name for name in found if name == options.namespace or name.startswith(f"{options.users}-")]
