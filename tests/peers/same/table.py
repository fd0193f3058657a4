"""More than two hundred commands, in the order in which they are given: each line is a test.

``IMAGE`` is the image's name.  What a command prints is not compared after a tilde: sizes, ids of
processes, the columns of another program.
"""

from __future__ import annotations

COMMANDS = r"""
# ---- images -------------------------------------------------------------------------------------
images --format "{{.Repository}}:{{.Tag}}"
images -q
tag IMAGE localhost/other:1
images --format "{{.Repository}} {{.Tag}}"
images --filter reference=localhost/other:1 --format "{{.Tag}}"
images --filter dangling=true -q
tag nosuchimage localhost/x
rmi localhost/other:1
~rmi nosuchimage
inspect --type image -f "{{.Os}} {{.Architecture}} {{.Config.Cmd}}" IMAGE
image inspect -f "{{.Config.Env}}" IMAGE
image inspect -f "{{json .Config.Cmd}}" IMAGE
history --format "{{.CreatedBy}}" nosuchimage
~save nosuchimage
# ---- created ------------------------------------------------------------------------------------
create --name c1 --network none -l a=b -l c=d -e X=y IMAGE sh -c "echo out; echo err >&2; exit 3"
create --name c1 --network none IMAGE sh
create --network none nosuchimage:1
ps -a --format "{{.Names}} {{.State}} {{.Image}}"
ps -a --format "{{.Command}}"
ps --format "{{.Names}}"
ps -aq
ps -q
inspect -f "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}" c1
inspect -f "{{.State.Paused}} {{.State.Restarting}} {{.State.OOMKilled}} {{.State.Dead}}" c1
inspect -f "{{.Path}} {{.Args}}" c1
inspect -f "{{.Config.Cmd}}" c1
inspect -f "{{json .Config.Cmd}}" c1
inspect -f "{{.Config.Labels}}" c1
inspect -f '{{index .Config.Labels "a"}}' c1
inspect -f "{{.HostConfig.NetworkMode}}" c1
inspect -f "{{.HostConfig.RestartPolicy.MaximumRetryCount}}" c1
inspect -f "{{.HostConfig.Privileged}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.AutoRemove}}" c1
inspect -f "{{.Config.Tty}} {{.Config.OpenStdin}}" c1
inspect -f "{{.State.Pid}}" c1
inspect -f "{{.State.StartedAt}}" c1
inspect -f "{{.RestartCount}}" c1
inspect -f "{{.Mounts}}" c1
inspect -f "{{.Image}}" c1
inspect -f "{{.Id}}" c1
inspect --type container -f "{{.State.Status}}" c1
inspect --type image c1
inspect --type volume c1
container inspect -f "{{.State.Status}}" c1
container inspect nosuch
inspect nosuch
inspect -f "{{.State.Nope}}" c1
logs c1
stop c1
kill c1
pause c1
unpause c1
exec c1 true
top c1
attach c1
port c1
rename c1 c2
ps -a --format "{{.Names}}"
rename c2 c1
rename c1 c1
rename nosuch x1
diff c1
# ---- started ------------------------------------------------------------------------------------
start c1
wait c1
inspect -f "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}" c1
logs c1
logs --tail 1 c1
logs --tail 0 c1
logs --since 1h c1
logs --until 1h c1
logs --tail x c1
start -a c1
logs c1
start nosuch
start c1 nosuch
wait c1
wait nosuch
ps -a --format "{{.Names}} {{.State}}"
ps --filter status=exited --format "{{.Names}}"
ps -a --filter status=created --format "{{.Names}}"
ps -a --filter exited=3 --format "{{.Names}}"
ps -a --filter exited=0 --format "{{.Names}}"
ps -a --filter name=c --format "{{.Names}}"
ps -a --filter name=nosuch --format "{{.Names}}"
ps -a --filter label=a --format "{{.Names}}"
ps -a --filter label=a=b --format "{{.Names}}"
ps -a --filter label=a=x --format "{{.Names}}"
ps -a --filter label=a --filter label=c=d --format "{{.Names}}"
ps -a --filter ancestor=IMAGE --format "{{.Names}}"
ps -a --filter status=nosuch
ps -a --filter nosuch=x
ps -a --filter before=nosuch
ps --no-such-flag
rm c1
rm c1
rm -f c1
# ---- in the foreground --------------------------------------------------------------------------
run --rm --network none IMAGE true
run --rm --network none IMAGE false
run --rm --network none IMAGE sh -c "exit 42"
run --rm --network none IMAGE nosuchcommand
run --rm --network none IMAGE /etc
run --rm --network none nosuchimage:1 true
run --rm --network none --no-such-flag IMAGE true
run --rm --network none IMAGE echo hello
run --rm --network none IMAGE sh -c "kill -TERM $$; sleep 1; exit 7"
run --rm --network none --init IMAGE sh -c "kill -9 $$"
run --rm --network none --init IMAGE sh -c "exit 9"
run --rm --network none -e A=1 -e B=2 IMAGE sh -c 'echo $A$B'
run --rm --network none -w /tmp IMAGE pwd
run --rm --network none -w /made/anew IMAGE pwd
run --rm --network none -u 12:34 IMAGE sh -c 'id -u; id -g'
run --rm --network none -u nobody IMAGE id -u
run --rm --network none -u nosuchuser IMAGE id
run --rm --network none --hostname here IMAGE hostname
run --rm --network none --read-only IMAGE touch /x
run --rm --network none --tmpfs /t IMAGE sh -c 'echo x > /t/f && cat /t/f'
run --rm --network none --entrypoint echo IMAGE a b
run --rm --network none --entrypoint "" IMAGE echo c
run --rm --network none --cap-drop ALL IMAGE grep CapEff /proc/self/status
run --rm --network none --privileged IMAGE sh -c 'ls /dev/mem'
run --rm --network none --ulimit nofile=100:200 IMAGE sh -c 'ulimit -Sn; ulimit -Hn'
run --rm --network none --pids-limit 50 IMAGE true
run --rm --network none -m 64m IMAGE true
run --rm --network none -m 1k IMAGE true
run --rm --network none --security-opt no-new-privileges IMAGE grep NoNewPrivs /proc/self/status
run --rm --network none --sysctl kernel.msgmax=65536 IMAGE cat /proc/sys/kernel/msgmax
run --rm --network none --stop-signal NOSUCH IMAGE true
run --rm --network none --restart nosuch IMAGE true
run --rm --network none -v relative:/d:nosuch IMAGE true
run --rm --network none --name "bad name" IMAGE true
run --rm --network none --name kept IMAGE true
run --network none --name kept IMAGE true
run --network none --name kept IMAGE true
inspect -f "{{.State.Status}} {{.State.ExitCode}}" kept
rm kept
# ---- that nobody waits for ----------------------------------------------------------------------
run -d --name d1 --network none -l x=1 IMAGE sh -c "trap 'exit 5' TERM; while :; do sleep .1; done"
run -d --name d1 --network none IMAGE true
ps --format "{{.Names}} {{.State}}"
ps --format "{{.Names}}"
ps -a --filter status=running --format "{{.Names}}"
ps --filter label=x=1 --format "{{.Names}}"
ps -l --format "{{.Names}}"
ps -n 1 --format "{{.Names}}"
ps -a --no-trunc -q
inspect -f "{{.State.Status}} {{.State.Running}} {{.State.Paused}}" d1
inspect -f "{{.State.FinishedAt}}" d1
rm d1
start d1
exec d1 echo hi
exec d1 sh -c "exit 4"
exec d1 nosuchcommand
exec d1 /etc
exec -e A=b d1 sh -c 'echo $A'
exec -w /tmp d1 pwd
exec -u 12 d1 id -u
exec -d d1 true
exec nosuch true
exec d1
~top d1
top d1 nosuchoption
pause d1
ps --format "{{.Names}} {{.State}}"
ps --filter status=paused --format "{{.Names}}"
inspect -f "{{.State.Status}} {{.State.Paused}}" d1
pause d1
exec d1 true
unpause d1
unpause d1
~stats --no-stream d1
~stats --no-stream --format "{{.Name}}"
stats --no-stream nosuch
port d1
port nosuch
kill -s USR2 nosuch
kill -s NOSUCH d1
rename d1 d2
inspect -f "{{.State.Status}}" d2
inspect d1
~stop d2
inspect -f "{{.State.Status}} {{.State.ExitCode}}" d2
wait d2
~stop d2
kill d2
exec d2 true
pause d2
top d2
~restart d2
inspect -f "{{.State.Status}}" d2
~restart -t 1 d2
~kill d2
wait d2
inspect -f "{{.State.Status}} {{.State.ExitCode}}" d2
rm -f d2 nosuch
~rm -f d2
rm nosuch
stop nosuch
kill nosuch
pause nosuch
unpause nosuch
restart nosuch
top nosuch
logs nosuch
attach nosuch
diff nosuch
export nosuch
commit nosuch x
rename nosuch other
# ---- what it leaves -----------------------------------------------------------------------------
run --name w1 --network none IMAGE sh -c "echo x > /made; rm /etc/passwd"
diff w1
commit w1 localhost/w1:1
run --rm --network none localhost/w1:1 cat /made
run --rm --network none localhost/w1:1 ls /etc/passwd
ps -a --filter ancestor=localhost/w1:1 -q
rmi localhost/w1:1
~export -o /dev/null w1
rm w1
# ---- restarts -----------------------------------------------------------------------------------
run -d --name r1 --network none --restart on-failure:2 IMAGE false
~inspect -f "{{.HostConfig.RestartPolicy.Name}}" r1
inspect -f "{{.HostConfig.RestartPolicy.MaximumRetryCount}}" r1
~stop -t 0 r1
rm -f r1
run -d --rm --restart always --network none IMAGE true
# ---- volumes ------------------------------------------------------------------------------------
volume create vol1
volume create --label l=m vol2
volume create vol1
volume create "bad name"
volume ls -q
volume ls --format "{{.Driver}} {{.Name}}"
volume inspect -f "{{.Name}} {{.Driver}}" vol1
volume inspect -f "{{.Labels}}" vol2
volume inspect nosuch
inspect --type volume -f "{{.Name}}" vol1
run --rm --network none -v vol1:/d IMAGE sh -c "echo kept > /d/f"
run --rm --network none -v vol1:/d:ro IMAGE cat /d/f
run --rm --network none -v vol1:/d:ro IMAGE touch /d/x
run --rm --network none --mount type=volume,source=vol1,target=/e IMAGE cat /e/f
run --rm --network none --mount type=bind,source=/nosuch,target=/e IMAGE true
create --name v1 --network none -v vol1:/d -v /anonymous IMAGE true
inspect -f "{{range .Mounts}}{{.Name}}{{end}}" v1
ps -a --filter volume=vol1 --format "{{.Names}}"
volume rm vol1
rm v1
volume rm vol1
volume rm nosuch
volume rm -f nosuch
volume ls -q --filter name=vol2
volume prune -f --filter label=nosuch
volume rm vol2
# ---- tidying up ---------------------------------------------------------------------------------
create --name p1 --network none --label keep=1 IMAGE true
create --name p2 --network none IMAGE true
run --name p3 --network none IMAGE true
~container prune -f --filter until=1h
ps -a --format "{{.Names}}"
~container prune -f --filter label=keep
ps -a --filter label=keep --format "{{.Names}}"
~container prune -f
ps -a --format "{{.Names}}"
~system df
~system df -v
~system prune -f
system prune --nosuch
# ---- words that mean nothing --------------------------------------------------------------------
nosuchverb
run
rm
stop
inspect
ps extra words
volume nosuchverb
"""

#: Fewer, for each waits for a daemon: what docker has and podman has otherwise, and the usual.
FOR_DOCKER = r"""
images --format "{{.Repository}}:{{.Tag}}"
tag IMAGE other:1
images --filter reference=other:1 --format "{{.Tag}}"
rmi other:1
create --name c1 --network none --label a=b -e X=y IMAGE sh -c "echo out; echo err >&2; exit 3"
create --name c1 --network none IMAGE sh
ps -a --format "{{.Names}} {{.State}} {{.Image}}"
ps -a --format "{{.Command}} {{.Status}}"
ps -a --format "table {{.Names}}\t{{.Image}}"
ps -a --format "{{.Labels}}"
ps -a
inspect -f "{{.Name}}" c1
inspect -f "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}" c1
inspect -f "{{.State.StartedAt}} {{.State.FinishedAt}}" c1
inspect -f "{{.Path}} {{.Args}} {{.Config.Cmd}} {{.Config.Labels}}" c1
inspect -f "{{json .Config.Cmd}} {{json .Mounts}} {{json .HostConfig.Binds}}" c1
inspect -f "{{.HostConfig.NetworkMode}} {{.HostConfig.RestartPolicy}} {{.HostConfig.Memory}}" c1
inspect -f "{{.Image}} {{.Id}} {{.Platform}}" c1
logs c1
diff c1
pause c1
stop c1
exec c1 true
rename c1 c1
rename c1 c2
start c2
wait c2
logs c2
start -a c2
ps -a --filter exited=3 --format "{{.Names}} {{.Status}}"
ps -a --filter label=a=b --filter name=c --format "{{.Names}}"
ps -a --filter ancestor=IMAGE --format "{{.Names}}"
ps -a --filter status=nosuch
rm c2
rm c2
rm -f c2
run --rm --network none IMAGE sh -c "exit 42"
run --rm --network none IMAGE nosuchcommand
run --rm --network none IMAGE /etc
run --rm --network none --nosuchflag IMAGE true
run --rm --network none -m 1k IMAGE true
run --rm --network none -w /made/anew IMAGE pwd
run -d --name d1 --network none IMAGE sh -c "trap 'exit 5' TERM; while :; do sleep 0.1; done"
ps --format "{{.Names}} {{.State}}"
start d1
rm d1
exec d1 sh -c "exit 4"
exec d1 nosuchcommand
exec -d d1 true
~top d1
pause d1
ps --format "{{.Names}} {{.State}}"
exec d1 true
unpause d1
~stats --no-stream --format "{{.Name}}" d1
update --pids-limit 50 d1
update --restart on-failure:3 d1
inspect -f "{{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy}}" d1
port d1
stop d1
inspect -f "{{.State.Status}} {{.State.ExitCode}} {{.State.Paused}} {{.State.OOMKilled}}" d1
rm -f d1 nosuch
volume create vol1
volume create vol1
volume ls
volume ls --format "{{.Name}} {{.Driver}} {{.Scope}}"
volume inspect -f "{{.Name}} {{.Driver}} {{.Options}}" vol1
volume rm nosuch
volume rm -f nosuch
volume rm vol1
inspect nosuch
"""
