"""How long the demo will take on this machine: what is built already, and what each step took here last time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster import debian, goparts, images, rootfs
from cluster.interface import Cluster
from cluster.paths import cache_root
from cluster.progress import usual_seconds
from conductor.cli.style import lasting

#: Names of images that the demo runs, and how long each usually takes to build.
BUILT_IMAGES: Mapping[str, float] = {
    "conductor:dev": 35,
    "migrator:dev": 10,
    "mc-migrations:1.0.0": 2,
    "postgres:15": 5,
    **{f"mc:{version}": 15 for version in images.MC_VERSIONS},
}
START_SECONDS = 25.0
GO_SECONDS = 60.0
NEVER = -1.0
BUILDING_STAGES = ("cluster", "images")


@dataclass(frozen=True)
class Part:
    """Something that is built once and kept."""

    name: str
    stage: str
    cached: bool
    seconds: float


def parts() -> list[Part]:
    """Everything that the cluster and the images are made of."""
    # Where there is no Go it is fetched as the first part; nothing can have been built by it then.
    go = goparts.go_version() if shutil.which("go") else ""
    needed = [goparts.PARTS[name] for name in ("kubernetes", "helm", "pause", "coredns", "prometheus")]
    found = [Part("Go", "cluster", bool(go), GO_SECONDS)]
    found += [_go_part(part, go, "cluster") for part in needed]
    found.append(_go_part(goparts.load_generator(), go, "images"))
    for packages, stage in ((debian.CLUSTER_PACKAGES, "cluster"), (debian.IMAGE_PACKAGES, "images")):
        lacking = debian.missing(packages)
        name = f"Debian packages ({len(packages)})"
        found.append(Part(name, stage, not lacking, usual_seconds(f"installing {' '.join(lacking)}", 60)))
    for base in (rootfs.PYTHON, rootfs.POSTGRES):
        archive = cache_root() / "rootfs" / f"{base.name}-{rootfs.recipe_key(base, rootfs.this_month())}.tar"
        took = usual_seconds(f"making the {base.name} base file system", base.usual_seconds)
        found.append(Part(f"{base.name} base file system", "images", archive.exists(), took))
    for name, seconds in BUILT_IMAGES.items():
        took = usual_seconds(f"building image {images.PREFIX}{name}", NEVER)
        found.append(Part(f"image {name}", "images", took != NEVER, seconds if took == NEVER else took))
    return found


def _go_part(part: goparts.GoPart, go: str, stage: str) -> Part:
    built = (cache_root() / "parts" / f"{part.name}-{goparts.part_key(part, go)}").exists()
    return Part(part.name, stage, built, usual_seconds(f"building {part.name}", part.usual_seconds))


def missing_seconds(found: Sequence[Part], stage: str) -> float:
    """The time that building what a stage lacks will take."""
    return sum(part.seconds for part in found if part.stage == stage and not part.cached)


def starting_seconds(cluster: Cluster) -> float:
    """Nothing where the cluster runs already."""
    running = cluster.way != "local" or not cluster.problems()
    return 2.0 if running else usual_seconds("starting the cluster", START_SECONDS)


def cache_sentence(found: Sequence[Part]) -> str:
    """What is built already, in a few words."""
    lacking = [part for part in found if not part.cached]
    if not lacking:
        return f"all {len(found)} parts are built already"
    slowest = sorted(lacking, key=lambda part: -part.seconds)[:3]
    named = ", ".join(f"{part.name} {lasting(part.seconds)}" for part in slowest)
    others = f" and {len(lacking) - len(slowest)} more" if len(lacking) > len(slowest) else ""
    return f"{len(found) - len(lacking)} of {len(found)} parts are built; to build: {named}{others}"


def remembered() -> dict[str, float]:
    """Seconds that each step of the demo took here last time."""
    path = cache_root() / "demo-timings.json"
    if not path.exists():
        return {}
    try:
        return {str(key): float(value) for key, value in json.loads(path.read_text()).items()}
    except ValueError:
        # Another run was stopped while it wrote; only the estimate suffers.
        return {}


def remember(took: Mapping[str, float]) -> None:
    """Only of steps that take the same time each run: what is built is reckoned part by part."""
    path = cache_root() / "demo-timings.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded = {key: round(value, 1) for key, value in took.items() if key not in BUILDING_STAGES}
    path.write_text(json.dumps(remembered() | rounded, indent=1, sort_keys=True))
