"""Emptying the cache: what no pin, recipe or source of today leads to, or all of it."""

import shutil

from cluster import goparts, images, rootfs
from cluster.dockerbuild import empty_storage
from cluster.imagestore import forget_all_but
from cluster.paths import cache_root
from cluster.progress import say


def prune(*, everything: bool = False) -> None:
    """Remove what is stale. With `everything` the next start builds all parts anew, which takes many minutes."""
    before = _size()
    if everything:
        shutil.rmtree(cache_root(), ignore_errors=True)
    else:
        _remove_stale_parts()
        for archive in (cache_root() / "rootfs").glob("*.tar"):
            if archive.stem not in _current_bases():
                archive.unlink()
        forget_all_but([*(images.PREFIX + name for name in images.known_names()), *images.base_names()])
        empty_storage()
    say(f"cache {cache_root()}: {before / 1e9:.1f} GB before, {_size() / 1e9:.1f} GB now")


def _remove_stale_parts() -> None:
    go = goparts.go_version()
    parts = [*goparts.PARTS.values(), goparts.load_generator()]
    parts += [goparts.podinfo(version) for version in images.PODINFO_VERSIONS]
    current = {f"{part.name}-{goparts.part_key(part, go)}" for part in parts}
    for directory in (cache_root() / "parts").glob("*"):
        if directory.name not in current:
            shutil.rmtree(directory)


def _current_bases() -> set[str]:
    month = rootfs.this_month()
    return {f"{base.name}-{rootfs.recipe_key(base, month)}" for base in (rootfs.PYTHON, rootfs.POSTGRES)}


def _size() -> int:
    """Bytes of all files; links count as nothing."""
    root = cache_root()
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
