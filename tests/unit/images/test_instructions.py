"""``--change`` reads Dockerfile instructions."""

from __future__ import annotations

import pytest

from newroot.errors import UsageError
from newroot.images.instructions import changed


def test_each_instruction_sets_its_field():
    instructions = [
        'ENTRYPOINT ["/bin/run"]',
        "cmd echo $HOME",
        "ENV A=1 B='two words'",
        "ENV C the rest of it",
        "EXPOSE 80 53/udp 8000-8001/tcp",
        'HEALTHCHECK --interval=1m30s --retries=3 CMD ["true"]',
        'LABEL a.b="c d"',
        "ONBUILD RUN x",
        "STOPSIGNAL SIGINT",
        "USER 1:1",
        'VOLUME ["/data"]',
        "VOLUME /more /most",
        "WORKDIR /srv",
        "WORKDIR www",
    ]

    assert {
        "Entrypoint": ["/bin/run"],
        "Cmd": ["/bin/sh", "-c", "echo $HOME"],
        "Env": ["A=1", "B=two words", "C=the rest of it"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}},
        "Healthcheck": {"Interval": 90_000_000_000, "Retries": 3, "Test": ["CMD", "true"]},
        "Labels": {"a.b": "c d"},
        "OnBuild": ["RUN x"],
        "StopSignal": "SIGINT",
        "User": "1:1",
        "Volumes": {"/data": {}, "/more": {}, "/most": {}},
        "WorkingDir": "/srv/www",
    } == changed({}, instructions)


def test_a_variable_takes_the_place_of_its_own_name_alone():
    config = {"Env": ["A=1", "AB=2"]}

    assert ["AB=2", "A=3"] == changed(config, ["ENV A=3"])["Env"]
    assert {"Env": ["A=1", "AB=2"]} == config


def test_another_entry_point_forgets_the_arguments_of_the_old_one():
    config = {"Entrypoint": ["old"], "Cmd": ["its", "arguments"]}

    assert {"Entrypoint": ["new"]} == changed(config, ['ENTRYPOINT ["new"]'])
    assert ["a"] == changed(config, ['CMD ["a"]', 'ENTRYPOINT ["new"]'])["Cmd"]


@pytest.mark.parametrize(
    "wrong",
    ["", "CMD", "RUN ls", "EXPOSE http", "EXPOSE 70000", "VOLUME data", "LABEL a=1 b",
     "HEALTHCHECK true", "HEALTHCHECK --interval=soon CMD x", "ENV 'A=1"],
)  # fmt: skip
def test_what_is_no_instruction_is_refused(wrong: str):
    with pytest.raises(UsageError):
        changed({}, [wrong])
