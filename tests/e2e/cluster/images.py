"""The table of every image that tests and the demo use, and how each comes about."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cluster import goparts, rootfs
from cluster.addons import coredns_image, pause_image, prometheus_image
from cluster.dockerbuild import build_image
from cluster.errors import ClusterError
from cluster.imagestore import StoredImage, find, remember
from cluster.interface import Cluster
from cluster.paths import PACKAGE, REPOSITORY
from cluster.progress import say
from cluster.staticimage import StaticImage, build_static

PREFIX = "localhost/"
MC_VERSIONS = ("1.0.0", "1.1.0", "1.2.0-bad", "1.2.1-slow")
PODINFO_VERSIONS = ("6.9.0", "6.9.1")
SHEDAPP_VERSIONS = ("1.0.0", "1.1.0")


@dataclass(frozen=True)
class DockerfileImage:
    """An image with a Dockerfile of its own; `based_on` names the base argument and where its image comes from."""

    context: Path
    dockerfile: Path
    base_argument: str
    base: Callable[[], StoredImage]
    arguments: Mapping[str, str] = field(default_factory=dict)

    def build(self, name: str) -> StoredImage:
        base = self.base()
        arguments = {self.base_argument: base.name, **self.arguments}
        return build_image(name, self.context, self.dockerfile, arguments, [base])


def base_image(base: rootfs.RootFilesystem) -> StoredImage:
    """The image of a base file system, named by its recipe, so that FROM lines see a new one."""
    name = _base_name(base)
    key = name.rpartition(":")[2]
    known = find(name, key)
    if known:
        return known
    archive = rootfs.archive(base)
    dockerfile = PACKAGE / "parts" / "rootfs" / "Dockerfile"
    with tempfile.TemporaryDirectory(prefix="base-", dir=archive.parent) as context:
        os.link(archive, Path(context) / "rootfs.tar")
        built = build_image(name, Path(context), dockerfile, {})
    # Known by its recipe from now on: hashing the whole file system at each call would cost more than it tells.
    image = StoredImage(name, key, built.manifest)
    remember(image)
    return image


def operator_image(tree: Path, tag: str) -> StoredImage:
    """The operator's image from a tree of this repository: the present one, or that of another commit."""
    image = DockerfileImage(tree, tree / "Dockerfile", "BASE", partial(base_image, rootfs.PYTHON))
    return image.build(f"{PREFIX}conductor:{tag}")


def _conductor() -> StoredImage:
    return operator_image(REPOSITORY, "dev")


def _migrator() -> StoredImage:
    context = REPOSITORY / "migrator"
    image = DockerfileImage(context, context / "Dockerfile", "BASE", partial(base_image, rootfs.PYTHON))
    return image.build(f"{PREFIX}migrator:dev")


def _mc(version: str) -> StoredImage:
    context = REPOSITORY / "controlplane"
    base = partial(base_image, rootfs.PYTHON)
    image = DockerfileImage(context, context / "Dockerfile", "BASE", base, {"VERSION": version})
    return image.build(f"{PREFIX}mc:{version}")


def _mc_migrations(version: str) -> StoredImage:
    context = REPOSITORY / "controlplane" / "migrations"
    image = DockerfileImage(context, context / "Dockerfile", "MIGRATOR", _migrator)
    return image.build(f"{PREFIX}mc-migrations:{version}")


def _podinfo(version: str) -> StoredImage:
    files = {"podinfo": goparts.binary(goparts.podinfo(version))}
    return build_static(StaticImage(f"{PREFIX}podinfo:{version}", files, ["/podinfo"]))


def _load() -> StoredImage:
    files = {"load": goparts.binary(goparts.load_generator())}
    return build_static(StaticImage(f"{PREFIX}load:dev", files, ["/load"]))


def _postgres() -> StoredImage:
    context = PACKAGE / "parts" / "postgres"
    image = DockerfileImage(context, context / "Dockerfile", "BASE", partial(base_image, rootfs.POSTGRES))
    return image.build(f"{PREFIX}postgres:15")


def _kwok() -> StoredImage:
    files = {"bin/kwok": goparts.binary(goparts.PARTS["kwok"])}
    return build_static(StaticImage(f"{PREFIX}kwok:dev", files, ["/bin/kwok"]))


def _argo_rollouts() -> StoredImage:
    files = {"bin/rollouts-controller": goparts.binary(goparts.PARTS["argo-rollouts"])}
    return build_static(StaticImage(f"{PREFIX}argo-rollouts:dev", files, ["/bin/rollouts-controller"]))


def _traefik() -> StoredImage:
    files = {"bin/traefik": goparts.binary(goparts.PARTS["traefik"])}
    return build_static(StaticImage(f"{PREFIX}traefik:dev", files, ["/bin/traefik"]))


def _shedapp(version: str) -> StoredImage:
    files = {"shedapp": goparts.binary(goparts.shed_application())}
    return build_static(StaticImage(f"{PREFIX}shedapp:{version}", files, ["/shedapp", f"-version={version}"]))


def _drain() -> StoredImage:
    files = {"drain": goparts.binary(goparts.drain_hook())}
    return build_static(StaticImage(f"{PREFIX}drain:dev", files, ["/drain"]))


#: Built and loaded only where they are asked for by name: `all` is what tests and the demo need.
BY_NAME: Mapping[str, Callable[[], StoredImage]] = {
    "kwok:dev": _kwok,
    "argo-rollouts:dev": _argo_rollouts,
    "traefik:dev": _traefik,
    "drain:dev": _drain,
    **{f"shedapp:{version}": partial(_shedapp, version) for version in SHEDAPP_VERSIONS},
}


def table() -> Mapping[str, Callable[[], StoredImage]]:
    """Every image by its short name, the system's own first."""
    builders: dict[str, Callable[[], StoredImage]] = {
        "pause:dev": pause_image,
        "coredns:dev": coredns_image,
        "prometheus:dev": prometheus_image,
        "conductor:dev": _conductor,
        "migrator:dev": _migrator,
        "load:dev": _load,
        "postgres:15": _postgres,
    }
    builders |= {f"podinfo:{version}": partial(_podinfo, version) for version in PODINFO_VERSIONS}
    builders |= {f"mc:{version}": partial(_mc, version) for version in MC_VERSIONS}
    builders |= {f"mc-migrations:{version}": partial(_mc_migrations, version) for version in MC_VERSIONS}
    return builders


def base_names() -> list[str]:
    """Names of the base images as this month's recipes give them."""
    return [_base_name(base) for base in (rootfs.PYTHON, rootfs.POSTGRES)]


def _base_name(base: rootfs.RootFilesystem) -> str:
    return f"{PREFIX}base-{base.name}:{rootfs.recipe_key(base, rootfs.this_month())}"


def known_names() -> list[str]:
    return list(table())


def expand(names: Sequence[str]) -> list[str]:
    """Short names of what was asked for: `mc` means every tag of mc, `localhost/` may stand in front."""
    chosen: list[str] = []
    for name in names:
        short = name.removeprefix(PREFIX)
        matches = [known for known in (*known_names(), *BY_NAME) if short in (known, known.partition(":")[0])]
        if not matches:
            raise ClusterError(
                f"image: {name!r} is not in the table; use `all` or one of {', '.join(known_names())}"
            )
        chosen += [match for match in matches if match not in chosen]
    return chosen


def build(name: str) -> StoredImage:
    """Build one image of the table, or find it built."""
    return (BY_NAME.get(name) or table()[name])()


def deliver(cluster: Cluster, names: Sequence[str]) -> None:
    """Build what is missing and make all of it usable by pods of this cluster."""
    images = [build(name) for name in expand(names)]
    sent = cluster.load_images(images)
    for image in images:
        say(
            f"image {image.name}: {image.size / 1e6:.0f} MB, {'loaded' if image.name in sent else 'there already'}"
        )
