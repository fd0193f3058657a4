"""An image from a registry into the store: ask, choose, fetch what is not here, name it.

    name ─▶ registries.conf ─▶ endpoints ─▶ manifest or index ─▶ config ─▶ layers, three at a time

Each layer goes download ─▶ digest ─▶ decompress ─▶ diff ID ─▶ files in one pass; what came of a
blob before a break stays beside the store, for the next pull to go on from.  An image that has not
changed costs one request.
"""

from __future__ import annotations

import hashlib

from newroot.errors import ImageError, NewrootError, RegistryError, SizeMismatch, UsageError
from newroot.images.limits import DEFAULT, Limits
from newroot.images.platform import Platform, host_platform, parse_platform
from newroot.images.registry.client import Access, Connections, Fetched
from newroot.images.registry.progress import EXISTS, RESOLVED, Teller
from newroot.images.registry.registries import load_registries
from newroot.oci import json
from newroot.oci.image import (
    CONFIGS,
    INDEXES,
    LAYERS,
    Descriptor,
    read_descriptor,
    read_diff_ids,
    read_list,
    read_manifest,
    read_object,
)
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.images.change import Change
    from newroot.images.reference import Reference
    from newroot.images.registry.client import Repository
    from newroot.images.registry.progress import OnProgress
    from newroot.images.registry.registries import Registries
    from newroot.images.store import Image, ImageStore
    from newroot.oci.image import Manifest

#: In index.json, beside an image that was chosen from an index: of which, and for which platform.
FROM_INDEX = "newroot.index.digest"
FROM_PLATFORM = "newroot.index.platform"

_NESTED_MAX = 2
_COMMITS_MAX = 5


@record
class Resolved:
    """One image at one place: its documents, verified."""

    manifest: Fetched
    parsed: Manifest
    config: dict[str, Any]
    config_data: bytes
    diff_ids: tuple[str, ...]
    from_index: str | None  #: the digest of the index that it was chosen from


def pull_image(
    store: ImageStore,
    name: str,
    *,
    platform: str | None = None,
    access: Access | None = None,
    on_progress: OnProgress | None = None,
    limits: Limits = DEFAULT,
    registries: Registries | None = None,
) -> Image:
    """Fetch the image *name*, unless it is here and unchanged, and return it.

    A short name may mean several, and a registry may have mirrors: the first that has it is taken.
    On any failure the store is as it was, but for parts of blobs that the next pull goes on from.

    Raises UsageError, RegistryError, ImageError and its kin.
    """
    wanted = host_platform() if platform is None else parse_platform(platform)
    registries = load_registries() if registries is None else registries
    access = Access() if access is None else access
    failures: list[NewrootError] = []
    for reference in registries.candidates(name):
        for endpoint in registries.endpoints(reference):
            with Connections(access, helpers=registries.helpers) as connections:
                one = _Pull(
                    store, reference, connections.repository(endpoint), wanted,
                    explicit=platform is not None, teller=Teller(on_progress), limits=limits,
                )  # fmt: skip
                try:
                    return one.run()
                except RegistryError as error:
                    failures.append(error)
    raise _all_failed(name, failures)


def find_local(store: ImageStore, name: str) -> Image | None:
    """The image that a pull of *name* would have brought, if it is here already."""
    for reference in load_registries().candidates(name):
        image = store.find(str(reference))
        if image is not None:
            return image
    return None


def _all_failed(name: str, failures: list[NewrootError]) -> NewrootError:
    if len(failures) == 1:
        return failures[0]
    last = failures[-1]
    assert isinstance(last, RegistryError)
    words = "; ".join(str(failure) for failure in failures)
    return RegistryError(
        f"pull {name}: none of {len(failures)} places has it: {words}",
        url=last.url,
        status=last.status,
        hint=last.hint,
    )


class _Pull:
    """One image from one place."""

    def __init__(
        self,
        store: ImageStore,
        reference: Reference,
        repository: Repository,
        platform: Platform,
        *,
        explicit: bool,
        teller: Teller,
        limits: Limits,
    ) -> None:
        self._store = store
        self._reference = reference
        self._repository = repository
        self._platform = platform
        self._explicit = explicit
        self._teller = teller
        self._limits = limits

    def run(self) -> Image:
        here = self._unchanged()
        if here is not None:
            return here
        # Imported only now: an image that has not changed is to cost little.
        from newroot.images.change import Change

        try:
            resolved = self._resolve()
        except UsageError as error:
            raise ImageError(f"pull {self._reference}: {error}", hint=error.hint) from None
        self._tell_resolved(resolved.manifest.descriptor.digest)
        with Change(self._store) as change:
            self._commit(change, resolved)
        return self._store.get(str(self._reference))

    def _tell_resolved(self, digest: str) -> None:
        self._teller.tell(RESOLVED, digest, name=str(self._repository))

    # ── what is here ─────────────────────────────────────────────────────────────────────────

    def _unchanged(self) -> Image | None:
        """The image as it is here, when the registry still means the same by the name."""
        name = str(self._reference)
        entry = self._store.find_entry(self._store.entries(), name)
        if entry is None:
            return None
        try:
            image = self._store.get(name)
        except ImageError:
            return None  # damaged: fetched anew
        digests = self._digests_of(entry)
        if self._reference.digest is not None:
            there: str | None = self._reference.digest
        else:
            there = self._repository.head_manifest(self._wanted)
        # A registry need not tell a digest, and an image need not come from an index.
        if there is None or there not in digests:
            return None
        self._tell_resolved(image.digest)
        self._teller.tell(EXISTS, image.digest)
        return image

    def _digests_of(self, entry: dict[str, Any]) -> tuple[object, ...]:
        annotations = entry.get("annotations") or {}
        index = None
        if annotations.get(FROM_PLATFORM) == str(self._platform):
            index = annotations.get(FROM_INDEX)
        # A manifest of its own is for one platform, and stays what it is.
        own = entry.get("digest") if FROM_INDEX not in annotations else None
        return own, index

    @property
    def _wanted(self) -> str:
        return self._reference.digest or self._reference.tag or "latest"

    # ── what is there ────────────────────────────────────────────────────────────────────────

    def _resolve(self) -> Resolved:
        fetched = self._repository.get_manifest(self._wanted, limit=self._limits.document_bytes)
        from_index = None
        for _ in range(_NESTED_MAX):
            if fetched.descriptor.media_type not in INDEXES:
                break
            from_index = from_index or fetched.descriptor.digest
            chosen = self._choose(fetched.document)
            fetched = self._repository.get_manifest(
                chosen.digest, expected=chosen, limit=self._limits.document_bytes
            )
        if fetched.descriptor.media_type in INDEXES:
            raise ImageError(f"pull {self._reference}: indexes nested more than {_NESTED_MAX} deep")
        parsed = read_manifest(fetched.document)
        self._check_parts(parsed)
        data = self._small_blob(parsed.config)
        config = read_object(json.loads(data, what="the config"), "")
        diff_ids = read_diff_ids(config)
        self._check_config(parsed, config, diff_ids)
        return Resolved(
            manifest=fetched,
            parsed=parsed,
            config=config,
            config_data=data,
            diff_ids=diff_ids,
            from_index=from_index,
        )

    def _choose(self, index: dict[str, Any]) -> Descriptor:
        entries = read_list(index.get("manifests"), "/manifests")
        best: tuple[int, int] | None = None
        offered = []
        for i, entry in enumerate(entries):
            fields = read_object(entry, f"/manifests/{i}")
            rank = self._platform.rank(fields.get("platform"))
            offered.append(_platform_words(fields.get("platform")))
            if rank is not None and (best is None or rank < best[0]):
                best = rank, i
        if best is None:
            known = sorted({words for words in offered if "unknown" not in words})
            raise ImageError(
                f"pull {self._reference}: there is no image for {self._platform} in it",
                hint=f"--platform with one of {', '.join(known)[:500]}" if known else None,
            )
        return read_descriptor(entries[best[1]], f"/manifests/{best[1]}")

    def _check_parts(self, manifest: Manifest) -> None:
        if manifest.config.media_type not in CONFIGS:
            raise ImageError(
                f"pull {self._reference}: it is no image but an artifact "
                f"({manifest.config.media_type[:100]})"
            )
        if len(manifest.layers) > self._limits.layers:
            raise ImageError(
                f"pull {self._reference}: an image of {len(manifest.layers)} layers, "
                f"more than {self._limits.layers}"
            )
        for number, layer in enumerate(manifest.layers, 1):
            if layer.media_type in LAYERS:
                continue
            kind = layer.media_type[:100]
            if "foreign" in kind or "nondistributable" in kind:
                raise ImageError(
                    f"pull {self._reference}: layer {number} is not in the registry ({kind}): its "
                    "maker forbids to distribute it, and newroot fetches from nowhere else"
                )
            raise ImageError(
                f"pull {self._reference}: layer {number} is of a kind that newroot does not "
                f"take: {kind}"
            )

    def _check_config(
        self, manifest: Manifest, config: dict[str, Any], diff_ids: tuple[str, ...]
    ) -> None:
        if len(diff_ids) != len(manifest.layers):
            raise ImageError(
                f"pull {self._reference}: its manifest has {len(manifest.layers)} layers, "
                f"its config {len(diff_ids)}"
            )
        if self._explicit and self._platform.rank(config) is None:
            raise ImageError(
                f"pull {self._reference}: it is for {_platform_words(config)}, "
                f"not for {self._platform}"
            )

    def _small_blob(self, descriptor: Descriptor) -> bytes:
        what = f"the config {descriptor.digest}"
        if descriptor.size > self._limits.config_bytes:
            raise ImageError(
                f"pull {self._reference}: {what} is of {descriptor.size} bytes, "
                f"more than {self._limits.config_bytes}"
            )
        download = self._repository.blob(descriptor, on_bytes=lambda _: None)
        parts = []
        try:
            while chunk := download():
                parts.append(chunk)
        finally:
            download.close()
        data = b"".join(parts)
        if len(data) != descriptor.size:
            raise SizeMismatch(
                f"pull {self._reference}: {what}: {descriptor.size} bytes were promised, "
                f"{len(data)} came"
            )
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if digest != descriptor.digest:
            from newroot.errors import DigestMismatch

            raise DigestMismatch(f"pull {self._reference}: {what}: its digest is {digest}")
        return data

    # ── bringing it over ─────────────────────────────────────────────────────────────────────

    def _commit(self, change: Change, resolved: Resolved) -> None:
        """Fetch, and name.  Somebody may prune between the two: then what he took comes again."""
        from newroot.images.registry.fetch import Fetcher

        for attempt in range(1, _COMMITS_MAX + 1):
            Fetcher(
                self._store, change, self._repository, resolved.parsed.layers, resolved.diff_ids,
                teller=self._teller, limits=self._limits,
            ).run()  # fmt: skip
            change.write_blob(resolved.config_data, resolved.parsed.config.media_type)
            manifest = resolved.manifest.descriptor
            change.write_blob(resolved.manifest.data, manifest.media_type)
            try:
                change.commit(lambda entries: self._name(entries, resolved))
            except ImageError:
                if attempt == _COMMITS_MAX:
                    raise
            else:
                return

    def _name(self, entries: list[dict[str, Any]], resolved: Resolved) -> None:
        from newroot.images.change import give_name

        annotations = {}
        if resolved.from_index is not None:
            annotations = {FROM_INDEX: resolved.from_index, FROM_PLATFORM: str(self._platform)}
        give_name(
            entries, resolved.manifest.descriptor, str(self._reference), annotations=annotations
        )


def _platform_words(untrusted: object) -> str:
    if not isinstance(untrusted, dict):
        return "an unknown platform"
    parts = (untrusted.get("os"), untrusted.get("architecture"), untrusted.get("variant"))
    return "/".join(str(part)[:40] for part in parts if part)
