"""Command line: `python -m cluster up|down|status|env|kubeconfig|images|stop|start|prune`."""

import argparse
import shlex
import sys
import time

from cluster.errors import ClusterError
from cluster.images import deliver, known_names
from cluster.interface import Cluster, select
from cluster.progress import say
from cluster.pruning import prune


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    parser.add_argument("--instance", help="name of a local or kind cluster beside the default one")
    parser.add_argument(
        "--nodes", type=int, help="local way: how many nodes it is to have (default: MC_NODES, else 1)"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start the cluster, or keep the healthy one")
    verbs.add_parser("down", help="stop it and remove every trace")
    verbs.add_parser("status", help="exit 0 when healthy, else say why not")
    prune = verbs.add_parser(
        "prune", help="remove what is no longer used from the cache of built parts and images"
    )
    prune.add_argument(
        "--all", action="store_true", help="remove the whole cache; the next `up` builds everything"
    )
    verbs.add_parser("env", help="print export lines for KUBECONFIG and PATH")
    verbs.add_parser("kubeconfig", help="print the path of the kubeconfig")
    images = verbs.add_parser("images", aliases=["load-image"], help="build what is missing and load it")
    images.add_argument(
        "names", nargs="*", help="names of the image table, or `all`; nothing lists the table"
    )
    stop = verbs.add_parser("stop", help="local way: suspend a program of a node, such as kube-proxy")
    stop.add_argument("--end", action="store_true", help="kill it instead, as a crash would")
    start = verbs.add_parser("start", help="let it go on, or start it again")
    for verb in (stop, start):
        verb.add_argument("node", help="node-1, node-2, ...")
        verb.add_argument(
            "component", help="kubelet, kube-proxy, containerd; on node-1 also etcd and the like"
        )
    return parser.parse_args()


def _status(cluster: Cluster) -> int:
    problems = cluster.problems()
    for problem in problems or ["healthy"]:
        print(f"{cluster.way}: {problem}")
    return 1 if problems else 0


def _environment(cluster: Cluster) -> int:
    for name, value in cluster.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def main() -> int:
    arguments = _arguments()
    cluster = select(arguments.instance, arguments.nodes)
    verb = arguments.verb
    if verb == "status":
        return _status(cluster)
    if verb == "env":
        return _environment(cluster)
    if verb == "kubeconfig":
        print(cluster.environment()["KUBECONFIG"])
        return 0
    started = time.monotonic()
    if verb == "up":
        cluster.up()
    elif verb == "down":
        cluster.down()
    elif verb == "prune":
        prune(everything=arguments.all)
    elif verb == "stop":
        cluster.stop_component(arguments.node, arguments.component, end=arguments.end)
    elif verb == "start":
        cluster.start_component(arguments.node, arguments.component)
    else:
        _images(cluster, arguments.names)
    say(f"{verb}: done in {time.monotonic() - started:.1f} s")
    return 0


def _images(cluster: Cluster, names: list[str]) -> None:
    if not names:
        print("\n".join(known_names()))
        return
    deliver(cluster, known_names() if names == ["all"] else names)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClusterError as error:
        say(str(error))
        sys.exit(1)
