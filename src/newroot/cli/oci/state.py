"""``newroot-oci state``: a container's state, in the specification's words (runtime.md, State)."""

from __future__ import annotations

from newroot.cli.flags import Positional, Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _state(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_state import load, state_document

    print(_indented(state_document(load(context.root, parsed.positionals[0]))))
    return 0


def _indented(document: dict[str, object]) -> str:
    """As runc prints it: two spaces, nothing of a key that is empty."""
    from newroot.oci.json import dumps

    lines = []
    for key, value in document.items():
        if isinstance(value, dict):
            inner = ",\n".join(f"    {dumps(k)}: {dumps(v)}" for k, v in value.items())
            lines.append(f"  {dumps(key)}: {{\n{inner}\n  }}")
        else:
            lines.append(f"  {dumps(key)}: {dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}"


STATE = Verb(
    name="state", summary=VERBS["state"][1], run=_state, positionals=(Positional(name="ID"),)
)
