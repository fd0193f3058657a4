"""For an ordinary user: ``cp``, volumes with options, and health checks."""

from __future__ import annotations

from collections.abc import Callable

Says = Callable[[str], str]


def test_files_go_in_and_out_of_one_that_runs_and_one_that_does_not(says: Says) -> None:
    said = says("""
        echo typed > note
        newroot create --name cold -v store:/data busybox true >/dev/null
        newroot run -d --name warm -v store:/data busybox sleep 1000 >/dev/null
        for box in cold warm; do
          newroot cp note $box:/data/$box
          newroot cp note $box:/root
          newroot cp $box:/root/note back-$box
          cat back-$box
          stat -c %u back-$box
        done
        newroot exec warm sh -c 'stat -c "%n %u" /data/*'
        newroot rm -f cold warm >/dev/null
        newroot volume rm store
    """)

    assert said.splitlines() == [
        *("typed", "1000", "typed", "1000"), "/data/cold 0", "/data/warm 0", "store",
    ]  # fmt: skip


def test_one_with_ids_of_its_own_owns_what_it_is_given(says: Says, subids: str) -> None:
    if not subids:
        return  # a single id cannot be divided: test_userns.py says what is said then
    said = says("""
        echo typed > note
        newroot run -d --name apart --userns private busybox sleep 1000 >/dev/null
        newroot cp note apart:/root/warm
        newroot stop -t 0 apart >/dev/null
        newroot cp note apart:/root/cold
        newroot start apart >/dev/null
        newroot exec apart sh -c 'stat -c "%n %u" /root/*'
        newroot rm -f apart >/dev/null
    """)

    assert said == "/root/cold 0\n/root/warm 0\n"


def test_a_volume_with_options_and_its_tar(says: Says) -> None:
    said = says("""
        newroot volume create -o type=tmpfs -o size=1m mem
        newroot run --rm -v mem:/m busybox grep -c "tmpfs /m .*size=1024k" /proc/mounts
        newroot run --rm -v old:/v busybox sh -c 'echo kept > /v/x'
        newroot volume create new
        newroot volume export old | newroot volume import new
        newroot run --rm -v new:/v busybox cat /v/x
        newroot volume prune -af | grep -v Deleted | sort | tr '\\n' ' '
    """)

    assert said == "mem\n1\nnew\nkept\nmem new old "


def test_a_health_check_is_asked_by_the_monitor(says: Says) -> None:
    said = says("""
        newroot run -d --name well --health-cmd true --health-interval 50ms \\
          busybox sleep 1000 >/dev/null
        for _ in $(seq 100); do
          newroot ps --filter health=healthy -q | grep -q . && break
        done
        newroot inspect -f '{{.State.Health.Status}}' well
        newroot rm -f well
    """)

    assert said == "healthy\nwell\n"
