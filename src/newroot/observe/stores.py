"""Which image layer a directory of podman's or Docker's store is, by the stores' own files.

A layer's directory tells where its store is, so a store in an unusual place is found as well:
``STORE/overlay/ID/diff`` beside ``overlay-layers/layers.json`` is containers/storage's, and
``STORE/overlay2/ID/diff`` beside ``image/overlay2/layerdb`` is Docker's.  What is missing, damaged
or not ours to read gives no name and no error.
"""

from __future__ import annotations

import os
import re

from newroot.observe.engines import _json
from newroot.observe.overlay import Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_PLACE = re.compile(r"(?P<store>/.*)/(?P<kind>overlay2?)/(?P<id>[0-9a-z]+)/diff")


def foreign_layers(directories: Iterable[str]) -> dict[str, Layer]:
    """Those of *directories* that are layers in a store of another engine, links followed."""
    stores: dict[tuple[str, str], dict[str, Layer]] = {}
    found = {}
    for directory in directories:
        place = _PLACE.fullmatch(os.path.realpath(directory))
        if place is None:
            continue
        key = place["store"], place["kind"]
        if key not in stores:
            stores[key] = (_podman if place["kind"] == "overlay" else _docker)(place["store"])
        if place["id"] in stores[key]:
            found[directory] = stores[key][place["id"]]
    return found


def _podman(store: str) -> dict[str, Layer]:
    """By directory: layers.json has each layer and its parent, images.json the topmost of each."""
    layers = {str(e.get("id")): e for e in _objects(f"{store}/overlay-layers/layers.json")}
    names: dict[str, list[str]] = {}
    for image in _objects(f"{store}/overlay-images/images.json"):
        layer = layers.get(str(image.get("layer")))
        seen: set[str] = set()
        while layer is not None and str(layer["id"]) not in seen:
            seen.add(str(layer["id"]))
            names.setdefault(str(layer["id"]), []).extend(map(str, image.get("names") or ()))
            layer = layers.get(str(layer.get("parent")))
    return {
        key: Layer(diff_id=str(entry["diff-digest"]), images=tuple(names.get(key, ())))
        for key, entry in layers.items()
        if entry.get("diff-digest")
    }


def _docker(store: str) -> dict[str, Layer]:
    """By directory: layerdb has each chain's cache-id and diff, repositories.json the names."""
    names: dict[str, list[str]] = {}
    content = f"{store}/image/overlay2/imagedb/content/sha256"
    repositories = _json(f"{store}/image/overlay2/repositories.json")
    tags = repositories.get("Repositories") if isinstance(repositories, dict) else None
    for tagged in (tags or {}).values():
        for name, image in tagged.items():
            config = _json(f"{content}/{image.removeprefix('sha256:')}")
            rootfs = config.get("rootfs") if isinstance(config, dict) else None
            for diff_id in (rootfs or {}).get("diff_ids", ()):
                if "@" not in name:
                    names.setdefault(diff_id, []).append(name)
    database = f"{store}/image/overlay2/layerdb/sha256"
    found = {}
    for chain in _listed(database):
        cache, diff_id = (_text(f"{database}/{chain}/{name}") for name in ("cache-id", "diff"))
        if cache and diff_id:
            found[cache] = Layer(diff_id=diff_id, images=tuple(names.get(diff_id, ())))
    return found


def _objects(path: str) -> list[dict[str, Any]]:
    value = _json(path)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""
