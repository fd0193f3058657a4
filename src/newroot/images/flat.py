"""A flat tar of a root filesystem becomes an image of one layer.

Such as ``docker export`` writes it, a distribution's minirootfs, or ``tar -C root -c .``; plain or
compressed; a file or a pipe.
"""

from __future__ import annotations

import os

from newroot.errors import UsageError
from newroot.images.change import Change, give_name
from newroot.images.instructions import changed
from newroot.images.layers import add_unknown_layer
from newroot.images.limits import DEFAULT, Limits
from newroot.images.platform import host_platform
from newroot.images.reference import parse
from newroot.images.stream import file_chunks
from newroot.oci import json
from newroot.oci.image import CONFIG, MANIFEST, Manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, BinaryIO

    from newroot.images.store import Image, ImageStore


def import_tar(
    store: ImageStore,
    source: str | os.PathLike[str] | BinaryIO,
    name: str,
    *,
    command: Sequence[str] | None = None,
    entrypoint: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    user: str | None = None,
    labels: Mapping[str, str] | None = None,
    changes: Sequence[str] = (),
    created: str | None = None,
    message: str | None = None,
    created_by: str = "newroot import",
    architecture: str | None = None,
    absolute_names: bool = False,
    limits: Limits = DEFAULT,
) -> Image:
    """Make an image called *name* from the tar *source*, a path or an open binary file.

    *changes* are Dockerfile instructions, as ``CMD ["sh"]``, carried out after the other words.
    *created* is RFC 3339 and now when left out; with it the image depends on the tar alone.
    *message* goes into the history.  An image that had the name keeps living without it.  On any
    failure the store is as it was.

    Raises UsageError for a name that cannot be, ImageError and UnsafeEntry for the archive.
    """
    reference = parse(name)
    if reference.digest is not None:
        raise UsageError(f"import an image as {name!r}: the name may not have a digest")
    settings = {
        "Cmd": list(command) if command is not None else None,
        "Entrypoint": list(entrypoint) if entrypoint is not None else None,
        "Env": [f"{key}={value}" for key, value in env.items()] if env else None,
        "WorkingDir": workdir,
        "User": user,
        "Labels": dict(labels) if labels else None,
    }
    config_section = changed(
        {key: value for key, value in settings.items() if value is not None}, changes
    )
    file, what = _opened(source)
    try:
        with Change(store) as change:
            layer = add_unknown_layer(
                change,
                file_chunks(file),
                what=what,
                absolute_names=absolute_names,
                limits=limits,
            )
            config = _config(
                layer.diff_id,
                config_section,
                created=created or timestamp(),
                created_by=created_by,
                message=message,
                architecture=architecture,
            )
            written = change.write_blob(json.dumps(config).encode(), CONFIG)
            document = Manifest(config=written, layers=(layer.blob,)).document()
            manifest = change.write_blob(json.dumps(document).encode(), MANIFEST)
            change.commit(lambda entries: give_name(entries, manifest, str(reference)))
    finally:
        if file is not source:
            file.close()
    return store.get(str(reference))


def _opened(source: str | os.PathLike[str] | BinaryIO) -> tuple[BinaryIO, str]:
    if not isinstance(source, (str, os.PathLike)):
        return source, str(getattr(source, "name", "the archive"))
    path = os.fspath(source)
    try:
        return open(path, "rb", buffering=0), path
    except OSError as error:
        raise UsageError(f"open {path}: {error.strerror}") from None


def _config(
    diff_id: str,
    settings: dict[str, Any],
    *,
    created: str,
    created_by: str,
    message: str | None,
    architecture: str | None,
) -> dict[str, Any]:
    variant = None
    if architecture is None:
        here = host_platform()
        architecture, variant = here.architecture, here.variant
    config: dict[str, Any] = {"created": created, "architecture": architecture, "os": "linux"}
    if variant is not None:
        config["variant"] = variant
    config["config"] = settings
    config["rootfs"] = {"type": "layers", "diff_ids": [diff_id]}
    history = {"created": created, "created_by": created_by}
    if message:
        history["comment"] = message
    config["history"] = [history]
    return config


def timestamp(seconds: int | None = None) -> str:
    """*seconds* since the epoch, or now, in the words of RFC 3339."""
    from datetime import UTC, datetime

    then = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def source_date_epoch(environment: Mapping[str, str]) -> int | None:
    """What SOURCE_DATE_EPOCH says: reproducible-builds.org, docs/source-date-epoch."""
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 11:
        raise UsageError(f"read SOURCE_DATE_EPOCH={text!r}: it is not a number of seconds")
    return int(text)
