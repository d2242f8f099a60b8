#!/usr/bin/env bash
# Start SLURM on this machine alone, to try the scripts of examples/slurm/. As root, on Debian:
#
#     apt-get install slurm-wlm munge
#     examples/slurm/local/start.sh DIR       # DIR is new or empty, and takes all that is kept
#     export SLURM_CONF=DIR/slurm.conf
#     sinfo
#     examples/slurm/local/stop.sh DIR
#
# Daemons, keys and settings of a SLURM that is installed already are left alone. Needs neither
# systemd nor control groups, so it runs in a container as well.

set -euo pipefail

if (($# != 1)); then
    echo "usage: $0 DIR" >&2
    exit 2
fi
for program in munged slurmctld slurmd; do
    if ! PATH=$PATH:/usr/sbin command -v "$program" >/dev/null; then
        echo "$program is missing: apt-get install slurm-wlm munge" >&2
        exit 1
    fi
done
PATH=$PATH:/usr/sbin

mkdir -p "$1"
dir=$(cd -- "$1" && pwd)
mkdir -p "$dir"/{munge,state,spool,log}
chmod 755 "$dir"
chmod 700 "$dir/munge"
host=$(hostname -s)
cpus=$(nproc)
memory=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)

# munge guards its key and its socket: nobody else may write where they lie.
socket=/run/geoforecast-munge/socket
install -d -m 755 /run/geoforecast-munge
[[ -s $dir/munge/key ]] || dd if=/dev/urandom of="$dir/munge/key" bs=1 count=1024 status=none
chmod 400 "$dir/munge/key"

# Credentials expire soon, or a job that is queued again waits two minutes for them.
cat >"$dir/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$socket,cred_expire=10
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=local Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$dir/slurm.conf

munged --force --key-file="$dir/munge/key" --socket="$socket" --pid-file="$dir/munge/pid" \
    --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" --num-threads=2
slurmctld
slurmd

for _ in {1..60}; do
    if [[ $(sinfo --noheader --format=%t 2>/dev/null) == idle ]]; then
        echo "SLURM runs here: export SLURM_CONF=$SLURM_CONF"
        exit 0
    fi
    sleep 1
done
echo "SLURM did not come up; see $dir/log" >&2
exit 1
