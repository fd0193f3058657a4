"""How much one archive may ask of the host before it is refused.

The defaults are far above any image in use and far below what hurts.  A program that knows better
passes its own: ``import_tar(..., limits=Limits(entries=2_000_000))``.
"""

from __future__ import annotations

from newroot.record import record


@record
class Limits:
    """Bounds on one layer, or on one archive of layers."""

    #: files, directories, links, whiteouts; the fattest images in use have some 300,000
    entries: int = 500_000
    #: uncompressed bytes of the archive, and apparent bytes of its files (sparse ones count whole)
    size_bytes: int = 64 << 30
    #: PATH_MAX with its NUL is 4096: a longer path could not be opened by name in a container
    path_bytes: int = 4095
    #: directories above an entry
    depth: int = 256
    #: one PAX or GNU long-name header; the bound that Go's archive/tar has
    header_bytes: int = 1 << 20
    #: pieces of a sparse file
    sparse_pieces: int = 65_536
    #: a manifest or an index; distribution-spec asks registries for at least 4 MiB
    document_bytes: int = 4 << 20
    #: an image config
    config_bytes: int = 16 << 20
    #: layers of one image; overlayfs takes 500
    layers: int = 500


DEFAULT = Limits()
