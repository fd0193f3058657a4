"""Every exception that newroot raises.  This file imports nothing.

    NewrootError(Exception)              .hint: what to try, printed on a line of its own
    ├── UsageError(…, ValueError)        the call was wrong; raised before anything was touched
    │   └── SpecError                    .pointer: which place in config.json or a manifest
    ├── UnsupportedError                 this kernel or host cannot: .feature, .tried
    ├── SyscallError(…, OSError)         our side of a start: .call, .target
    ├── StepError(…, OSError)            newroot-init's side: .step, .index, .total, .kernel_log
    ├── HookError                        a hook of config.json failed
    ├── ImageError
    │   ├── DigestMismatch               the bytes are not the ones that were named
    │   ├── SizeMismatch                 more or fewer bytes than were named
    │   ├── UnsafeEntry                  an archive tries to leave its directory or exhaust the host
    │   └── BlobNotFound                 a manifest names a blob that is not there
    ├── RegistryError                    .url, .status
    ├── StateError
    │   ├── NotFound                     no such container, image or volume
    │   ├── AlreadyExists                the name is in use
    │   └── WrongStatus                  .status it has, .wanted it should have
    └── BugError                         this should never happen

A container's exit status is a return value.  Only "we could not do it" is raised.
"""

from __future__ import annotations


class NewrootError(Exception):
    """Anything that newroot could not do; *hint* says what to try, where we know."""

    hint: str | None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # An exception with keyword-only arguments does not unpickle by itself.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(
    kind: type[NewrootError], args: tuple[object, ...], state: dict[str, object]
) -> NewrootError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(NewrootError, ValueError):
    """The call was wrong.  Nothing was touched."""


class SpecError(UsageError):
    """A document (config.json, a manifest, a profile) says something that it may not say."""

    pointer: str  #: RFC 6901 pointer to the place, for example ``/linux/namespaces/2``

    def __init__(self, message: str, *, pointer: str, hint: str | None = None) -> None:
        super().__init__(f"{pointer or '/'}: {message}", hint=hint)
        self.pointer = pointer


class UnsupportedError(NewrootError):
    """This kernel or host cannot do it.  The call itself was right."""

    feature: str  #: what is missing, for example ``overlay in a user namespace``
    tried: str | None  #: what the probe did and saw

    def __init__(
        self, message: str, *, feature: str, tried: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.feature = feature
        self.tried = tried


class _OSNewrootError(NewrootError, OSError):
    """A NewrootError with an errno.  ``str()`` is the whole sentence."""

    # OSError builds itself in __new__ from (errno, strerror, filename); a single
    # argument keeps it plain, and errno and strerror are set below.
    def __init__(self, message: str, *, errno: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno
        self.strerror = message

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        state = {**self.__dict__, "errno": self.errno, "strerror": self.strerror}
        return _rebuild_os, (type(self), self.args, state)


def _rebuild_os(
    kind: type[_OSNewrootError], args: tuple[object, ...], state: dict[str, object]
) -> NewrootError:
    error = kind.__new__(kind, *args)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


class SyscallError(_OSNewrootError):
    """A system call failed on our side, before or beside the container's start."""

    call: str  #: the system call or file operation, for example ``mkdir``
    target: str  #: what it was done on

    def __init__(
        self, message: str, *, errno: int, call: str, target: str, hint: str | None = None
    ) -> None:
        super().__init__(message, errno=errno, hint=hint)
        self.call = call
        self.target = target


class StepError(_OSNewrootError):
    """A step of the plan failed inside newroot-init.  Nothing of the container remains.

    You get this error when the kernel said no to one of the plan's steps.  You get a
    UsageError or SpecError instead when newroot could see beforehand that it would.
    """

    step: str  #: what the step says of itself, for example ``mount proc on /proc``
    index: int  #: its place in the plan, counted from 1
    total: int  #: how many steps the plan has
    kernel_log: str  #: the kernel's own words from the fs context, often empty

    def __init__(
        self,
        message: str,
        *,
        errno: int,
        step: str,
        index: int,
        total: int,
        kernel_log: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, errno=errno, hint=hint)
        self.step = step
        self.index = index
        self.total = total
        self.kernel_log = kernel_log


class HookError(NewrootError):
    """A hook of config.json failed, or took longer than it may.  Nothing of the container remains.

    Of those that newroot-init runs, in the container's namespaces, a StepError tells.
    """


class ImageError(NewrootError):
    """An image or an archive is not what it should be.  The store is as it was."""


class DigestMismatch(ImageError):
    """The bytes that came are not the bytes that the digest names."""


class SizeMismatch(ImageError):
    """More or fewer bytes came than the descriptor names."""


class UnsafeEntry(ImageError):
    """An archive's entry tries to leave its directory, or to exhaust the host."""


class BlobNotFound(ImageError):
    """A manifest or an index names a blob that is not there."""


class RegistryError(NewrootError):
    """A registry said no, or something that it may not say."""

    url: str
    status: int | None  #: HTTP status code; None when there was no answer

    def __init__(
        self, message: str, *, url: str, status: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.url = url
        self.status = status


class StateError(NewrootError):
    """A container, an image or a volume is not in the state that the call needs."""


class NotFound(StateError):
    """There is no container, image or volume of that name."""


class AlreadyExists(StateError):
    """The name is in use."""


class WrongStatus(StateError):
    """A container is there, but not in the status that the verb needs."""

    status: str  #: the status that it has
    wanted: str  #: the status or statuses that the verb needs

    def __init__(self, message: str, *, status: str, wanted: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.wanted = wanted


class BugError(NewrootError):
    """This should never happen.  If you get this error, please file a bug with its text."""
