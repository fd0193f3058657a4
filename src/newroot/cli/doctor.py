"""``newroot doctor``: what is wrong, what was mended, what is lost; an exit code for scripts."""

from __future__ import annotations

from newroot.cli.flags import Flag, Verb
from newroot.cli.output import print_json
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.doctor.check import Finding

SOMETHING_IS_WRONG = 1


def _doctor(parsed: Parsed, context: Context) -> int:
    from newroot.doctor.check import Patient, examine
    from newroot.doctor.table import CHECKS, STORE_CHECKS
    from newroot.engine import Engine

    patient = Patient(
        Engine(context.root, run_root=context.run_root),
        repair=parsed.is_set("repair"),
        quick=parsed.is_set("quick"),
        fetch=not parsed.is_set("offline"),
        tls_verify=False if parsed.text("tls_verify") == "false" else None,
    )
    wrong = False
    as_json = parsed.text("format") == "json"
    for finding in examine(patient, STORE_CHECKS if parsed.is_set("store") else CHECKS):
        wrong |= finding.is_wrong
        if as_json:
            print_json(
                {
                    "Check": finding.check,
                    "State": finding.state,
                    "Message": finding.words,
                    "Hint": finding.hint,
                }
            )
        else:
            _say(finding)
    return SOMETHING_IS_WRONG if wrong else 0


def _say(finding: Finding) -> None:
    state = "ok" if finding.state == "note" else finding.state
    text = f"{finding.check:<11} {state:<7} {finding.words}"
    print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), flush=True)
    if finding.hint:
        print(f"{'':<20}hint: {finding.hint}")


DOCTOR = Verb(
    name="doctor",
    summary=VERBS["doctor"][1],
    run=_doctor,
    flags=(
        Flag(name="repair", help="Mend what can be mended"),
        Flag(name="quick", help="Compare sizes alone, read no content"),
        Flag(name="offline", help="Ask no registry for what is gone"),
        Flag(
            name="tls-verify",
            metavar="true|false",
            choices=("true", "false"),
            help="Whether a registry has to prove who it is",
        ),
        Flag(name="store", help="Check what newroot keeps, not what it runs on"),
        Flag(name="format", metavar="FORMAT", choices=("table", "json"), help="How to print it"),
    ),
    details=(
        "Reads every blob, and compares every layer with its blob, file by file. --repair unpacks "
        "layers anew, fetches blobs again from the registry that the image's name points to, and "
        "removes what nobody names. The exit code is 0 when all is well or mended, and 1 when "
        "something is wrong or lost."
    ),
)
