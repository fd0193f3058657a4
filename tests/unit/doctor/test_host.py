"""What the doctor says of a host: each line with what to do where something does not work."""

from __future__ import annotations

from pathlib import Path

from newroot.doctor.check import Patient
from newroot.doctor.host import _EITHER, _NEEDED, _REMEDIES, check_cgroups, check_features
from newroot.engine import Engine
from newroot.linux.features import probe_all


def test_every_feature_that_may_be_missing_has_a_remedy() -> None:
    asked = set(probe_all())

    assert asked - _EITHER == set(_REMEDIES)
    assert set(_REMEDIES) >= _NEEDED


def test_what_does_not_work_is_said_with_what_to_do(tmp_path: Path) -> None:
    patient = Patient(Engine(tmp_path))
    findings = {f.words.partition(":")[0]: f for f in check_features(patient)}

    for name, probe in probe_all().items():
        found = findings[name]
        assert found.words.startswith(f"{name}: {'yes' if probe.works else 'no'}: ")
        assert (found.hint is None) == (probe.works or name in _EITHER)
        assert found.is_wrong == (not probe.works and name in _NEEDED)


def test_cgroups_are_said_by_what_they_can_limit(tmp_path: Path) -> None:
    (found,) = check_cgroups(Patient(Engine(tmp_path)))

    assert "note" == found.state
    assert found.words.startswith(("v1", "v2", "hybrid", "none"))
