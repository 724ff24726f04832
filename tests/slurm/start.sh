#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: bash tests/slurm/start.sh FOLDER
#
# Prints "ready" once jobs can run (SLURM_CONF=FOLDER/slurm.conf finds it) and lives until its standard input ends, so
# that nothing outlives whoever started it, however that dies. Keys, ports, logs and state are its own, in FOLDER.
# Where SLURM is not installed, it is, from Debian's packages, if that can be done. Exit status 77: it cannot be had here.
set -euo pipefail
folder=$(realpath "$1")
exec 2>"$folder/start.log" # nothing here may hold open a pipe that someone reads to its end

absent() {
    printf '%s\n' "$*"
    exit 77
}

has_slurm() { command -v slurmctld && command -v slurmd && command -v sbatch && command -v munged; } >/dev/null

PATH=$PATH:/usr/sbin:/sbin
if ! has_slurm; then
    [ "$(id -u)" = 0 ] || absent "SLURM is not installed, and only root can install it"
    command -v apt-get >/dev/null || absent "SLURM is not installed, and there is no apt-get"
    export DEBIAN_FRONTEND=noninteractive
    {
        timeout 120 apt-get -q update || true # an older list may do
        timeout 300 apt-get install -q --yes --no-install-recommends slurmctld slurmd slurm-client munge
    } >>"$folder/start.log" </dev/null || true
    has_slurm || absent "SLURM is not installed, and apt-get could not install it (slurmctld slurmd slurm-client munge)"
fi

# Two ports that nobody listens on.
ports=()
for ((port = 20000 + RANDOM % 10000; ${#ports[@]} < 2; port++)); do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || ports+=("$port")
done
host=$(hostname -s 2>/dev/null || uname -n) # without asking a resolver, the second
user=$(id -un)

# munged insists on folders that only their owner can change, and clients on a socket that all can reach.
chmod 755 "$folder"
mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
chmod 711 "$folder/munge"
(umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")

# Without cgroups, accounting and name resolution. The CPUs, the memory and the GPUs are there in name alone, so that
# jobs are queued as on a large machine. A job that goes back to the queue may start after cred_expire seconds.
cat >"$folder/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
KillWait=10
ReturnToService=2
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=32 RealMemory=256000 Gres=gpu:16 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
touch "$folder"/gpu{0..15} # a GPU is a device file
printf 'Name=gpu File=%s/gpu[0-15]\n' "$folder" >"$folder/gres.conf"
version=$(slurmctld -V)
[[ $version =~ \ (2[0-2]|23\.02) ]] || printf 'CgroupPlugin=disabled\n' >"$folder/cgroup.conf"
export SLURM_CONF=$folder/slurm.conf

daemons=()
start() { # LOG COMMAND ...: as a child, which doesn't read our standard input
    local log=$1
    shift
    "$@" </dev/null >>"$folder/$log" 2>&1 &
    daemons+=($!)
}

# End every job before the daemons, so that no process of a job is left.
# shellcheck disable=SC2329  # by the trap
stop() {
    trap '' INT TERM HUP
    timeout 5 scancel --user "$user" >&2 || true
    for _ in $(seq 40); do
        [ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ] || break
        sleep 0.25
    done
    kill "${daemons[@]}" 2>/dev/null || true
    wait
}
trap stop EXIT
trap 'exit 1' INT TERM HUP

start munged.log munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munged.log" --seed-file="$folder/munge/seed"
for _ in $(seq 50); do
    munge --socket="$folder/munge/socket" --no-input >/dev/null 2>&1 && break
    sleep 0.1
done
start slurmctld.out slurmctld -D -i
start slurmd.out slurmd -D
for _ in $(seq 100); do
    if [ "$(timeout 5 sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
        printf 'ready\n'
        cat >/dev/null
        exit 0
    fi
    sleep 0.2
done
absent "SLURM did not start: $(grep -hE 'error|fatal' "$folder"/*.log "$folder"/*.out | tail -n 3 | tr '\n' ' ')"
