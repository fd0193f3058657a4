"""Where newroot is unlike podman and docker, command by command, and why: the whole list."""

from __future__ import annotations

from same import Difference

_ONE = "the peer says 1, newroot 125 to all that is its own failure, whatever the verb"
_TEMPLATE = "podman's {{.State}} is ps's Status, and its {{.Command}} unquoted; docker's are ours"
_DIGEST = "podman prints an image's ID without its algorithm, docker with it, as newroot does"

PODMAN = (
    Difference(
        'images --filter reference=localhost/other:1 --format "{{.Tag}}"',
        "out",
        "podman shows all names of an image of which one fits; docker those that fit",
    ),
    Difference("rmi nosuchimage", "code", _ONE),
    Difference('ps -a --format "{{.Names}} {{.State}} {{.Image}}"', "out", _TEMPLATE),
    Difference('ps -a --format "{{.Command}}"', "out", _TEMPLATE),
    Difference('inspect -f "{{.Image}}" c1', "out", _DIGEST),
    Difference("exec c1 true", "code", "podman's 255; docker's is 1, newroot's its own 125"),
    Difference("rename c1 c1", "code", "podman lets a name be given again; docker refuses"),
    Difference(
        "logs --until 1h c1",
        "out",
        "podman counts --until onward; docker back, as --since",
    ),
    Difference(
        "start c1 nosuch", "out", "podman starts none if one is not there; docker those that are"
    ),
    Difference('ps -a --format "{{.Names}} {{.State}}"', "out", _TEMPLATE),
    Difference("rm c1 (2)", "code", _ONE),
    Difference(
        "run --rm --network none -w /made/anew IMAGE pwd",
        "code out",
        "podman 4.3 refuses a directory that is not in the image; docker makes it",
    ),
    Difference(
        "run --rm --network none -u nosuchuser IMAGE id", "code", "podman's 126; docker's is 125"
    ),
    Difference(
        "run --rm --network none --ulimit nofile=100:200 IMAGE sh -c 'ulimit -Sn; ulimit -Hn'",
        "code out",
        "podman adds limits of its own to one that is asked for, and this host lets none be raised",
    ),
    Difference(
        "run --rm --network none -m 1k IMAGE true",
        "code",
        "podman leaves it to the kernel, 126; docker refuses less than 6m, 125",
    ),
    Difference('ps --format "{{.Names}} {{.State}}"', "out", _TEMPLATE),
    Difference("rm d1", "code", "podman's 2; docker's is 1, newroot's its own 125"),
    Difference("start d1", "out", "podman says nothing of one that runs; docker its name"),
    Difference("exec -d d1 true", "out", "podman prints an ID of the exec; docker nothing"),
    Difference("exec d1", "code", "podman's 255; docker's is 1, newroot's its own 125"),
    Difference(
        "top d1 nosuchoption", "code out", "podman runs the container's ps; docker the host's"
    ),
    Difference(
        'ps --format "{{.Names}} {{.State}}" (2)',
        "out",
        "podman hides what is paused; docker shows it",
    ),
    Difference("exec d1 true", "code", "podman's 255; docker's is 1, newroot's its own 125"),
    Difference("exec d2 true", "code", "podman's 255; docker's is 1, newroot's its own 125"),
    Difference(
        "rm -f d2 nosuch", "out", "podman removes none if one is not there; docker those that are"
    ),
    Difference("rm nosuch", "code", _ONE),
    Difference("commit w1 localhost/w1:1", "out", _DIGEST),
    Difference("rmi localhost/w1:1", "out", _DIGEST),
    Difference(
        "volume create vol1 (2)",
        "code out",
        "podman refuses a name that is taken",
    ),
    Difference(
        'inspect -f "{{range .Mounts}}{{.Name}}{{end}}" v1',
        "code out",
        "newroot knows the plain places of Go's templates: docs/decisions/0030",
    ),
    Difference("volume rm vol1", "code", "podman's 2; docker's is 1, newroot's its own 125"),
    Difference("volume rm nosuch", "code", _ONE),
    Difference("volume rm -f nosuch", "out", "podman says nothing; docker the name"),
)

_STRUCT = "Go prints a struct without its names; newroot has maps alone"

DOCKER = (
    Difference("create --name c1 --network none IMAGE sh", "code", _ONE),
    Difference(
        'inspect -f "{{.HostConfig.NetworkMode}} {{.HostConfig.RestartPolicy}} '
        '{{.HostConfig.Memory}}" c1',
        "out",
        _STRUCT,
    ),
    Difference("pause c1", "code", _ONE),
    Difference("exec c1 true", "code", _ONE),
    Difference("rename c1 c1", "code", _ONE),
    Difference("ps -a --filter status=nosuch", "code", _ONE),
    Difference("rm c2 (2)", "code", _ONE),
    Difference("rm d1", "code", _ONE),
    Difference(
        "exec d1 nosuchcommand",
        "code out",
        "docker 20.10 says 126, and that on its output; since 23 it is 127",
    ),
    Difference("exec d1 true", "code", _ONE),
    Difference(
        'inspect -f "{{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy}}" d1', "out", _STRUCT
    ),
    Difference("volume rm nosuch", "code", _ONE),
    Difference("inspect nosuch", "code", _ONE),
)
