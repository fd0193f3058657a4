"""How images share layers: every layer once, each on what it stands on.

Two images share a layer in a root only when all below it is the same too, so the tree is by chain
and not by layer: image-spec, config.md, "Layer ChainID".  On the disk a layer is there once anyway.
"""

from __future__ import annotations

from newroot.errors import NewrootError
from newroot.images.store import descriptor_of
from newroot.oci.image import read_diff_ids, read_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.images.store import Image, ImageStore


class Node:
    """A layer, on the layers above it in this tree; the images that end here; what stands on it."""

    __slots__ = ("children", "diff_id", "images", "size")

    def __init__(self, diff_id: str, size: int) -> None:
        self.diff_id = diff_id
        self.size = size  #: bytes of its blob, as it is stored
        self.images: list[Image] = []
        self.children: dict[str, Node] = {}

    def walk(self) -> Iterator[Node]:
        """This layer and all that stand on it."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def users(self) -> int:
        """How many images have it."""
        return sum(len(node.images) for node in self.walk())


def family(store: ImageStore) -> list[Node]:
    """The trees of all images that can be read, in the order in which they came."""
    root = Node("", 0)
    by_digest = {str(entry.get("digest")): entry for entry in store.entries()}
    for image in store.list():
        try:
            stack = _stack(store, image, by_digest[image.digest])
        except (NewrootError, KeyError):
            continue  # a damaged one; newroot doctor says what is wrong with it
        node = root
        for diff_id, size in stack:
            node = node.children.setdefault(diff_id, Node(diff_id, size))
        if stack:
            node.images.append(image)
    return list(root.children.values())


def _stack(store: ImageStore, image: Image, entry: dict[str, object]) -> list[tuple[str, int]]:
    """Diff ID and stored size of each layer, from the bottom to the top."""
    manifest = read_manifest(store.document(descriptor_of(entry), "a manifest"))
    sizes = [layer.size for layer in manifest.layers]
    return list(zip(read_diff_ids(image.config), sizes, strict=True))
