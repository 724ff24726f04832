#!/usr/bin/env bash
# Submit one experiment, or several, to SLURM: an array task a run, then a job that merges the runs.
#
#   bash gpu_experiment.sh NAME [options] [-- KEY=VALUE ...]            experiment_configs/**/NAME.yaml
#   bash gpu_experiment.sh --all 'PATTERN' [options] [-- KEY=VALUE ...] all that match, for instance 'mnist_*'
#
# Where there is no NAME.yaml, also after a typo, config.yaml is submitted under that name: try --dry-run first. The
# jobs read a snapshot, overrides included: editing a config afterwards changes nothing that is queued. A run that is
# stopped (time limit, preemption) saves its state and queues itself again; scancel ends it, and submitting again goes
# on from there.
#
#   --dry-run          print the batch scripts, submit nothing
#   --processes N      processes a node, in place of one a GPU that --gres or --gpus... asks for
#   --output_dir DIR   in place of experiment_outputs
#
# Any other option goes to sbatch, over these defaults: --time=12:00:00, --requeue, --signal=B:USR1@120 (stop two
# minutes before the time limit), for each process --mem=6G and --cpus-per-task=2, and --gres=gpu:1 where the cluster
# has GPUs (--gres=none: without). PYTHON=... in the environment names another interpreter than `bash run.sh --python`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 2
}

name='' pattern='' dry_run='' processes='' output_dir=experiment_outputs
options=()   # for sbatch
overrides=() # for the program, as --set KEY=VALUE

# Sort the command line into the variables above.
read_command_line() {
    local after_option='' # set where a plain word may be the value of the option before it
    while [ $# -gt 0 ]; do
        case $1 in
        --)
            shift
            read_overrides "$@"
            break
            ;;
        --dry-run) dry_run=yes ;;
        --all=* | --processes=* | --output_dir=*) own_option "${1%%=*}" "${1#*=}" ;;
        --all | --processes | --output_dir)
            [ $# -gt 1 ] || die "$1 takes a value"
            own_option "$1" "$2"
            shift
            ;;
        -*=*) options+=("$1") after_option='' ;;
        -*) options+=("$1") after_option=yes ;;
        *)
            if [ -n "$after_option" ]; then
                options+=("$1") after_option=''
            elif [[ $1 == *=* ]]; then
                die "$1: overrides go after --, as in: bash gpu_experiment.sh NAME -- $1"
            elif [ -n "$name$pattern" ]; then
                die "$1: one NAME at a time (several: --all 'PATTERN'; options of sbatch begin with -)"
            else
                name=$1
            fi
            ;;
        esac
        shift
    done
    [ -n "$name$pattern" ] || die "the name of an experiment is missing; it comes first (bash gpu_experiment.sh --help)"
    [ -z "$name" ] || [ -z "$pattern" ] || die "either NAME or --all 'PATTERN', not both"
}

own_option() {
    [ -n "$2" ] || die "$1 takes a value"
    case $1 in
    --all) pattern=$2 ;;
    --processes)
        [[ $2 =~ ^[1-9][0-9]?$ ]] || die "--processes $2: give a number from 1 to 99"
        processes=$2
        ;;
    --output_dir) output_dir=$2 ;;
    esac
}

read_overrides() {
    while [ $# -gt 0 ]; do
        case $1 in
        --set)
            [ $# -gt 1 ] || die "--set takes KEY=VALUE"
            overrides+=(--set "$2")
            shift
            ;;
        --set=*) overrides+=("$1") ;;
        -* | =*) die "$1: after -- come overrides only, as KEY=VALUE" ;;
        *=*) overrides+=(--set "$1") ;;
        *) die "$1: after -- come overrides only, as KEY=VALUE" ;;
        esac
        shift
    done
}

# Print the value that sbatch's option has on the command line, in its long or its short spelling; the last counts.
option() {
    local word next='' value=''
    for word in ${options[@]+"${options[@]}"}; do
        if [ -n "$next" ]; then
            value=$word next=''
        elif [[ $word == "$1" || $word == "${2:-}" ]]; then
            next=yes
        elif [[ $word == "$1="* ]]; then
            value=${word#*=}
        elif [[ -n ${2:-} && $word == "$2"?* ]]; then
            value=${word#"$2"}
        fi
    done
    printf '%s\n' "$value"
}

# Print how many GPUs a node the command line asks for; nothing where that cannot be told.
gpus_a_node() {
    local spec nodes
    spec=$(option --gres)
    if [[ ,$spec, =~ ,(gres/)?gpu(:[^:,]*[^:,0-9][^:,]*)?:([1-9][0-9]*)[,\(] ]]; then
        printf '%s\n' "${BASH_REMATCH[3]}"
        return
    fi
    for spec in "$(option --gpus-per-node)" "$(option --gpus-per-task)"; do
        if [[ $spec =~ ^([^:,]+:)?([1-9][0-9]*)$ ]]; then
            printf '%s\n' "${BASH_REMATCH[2]}"
            return
        fi
    done
    spec=$(option --gpus -G)
    nodes=$(option --nodes -N)
    if [[ $spec =~ ^([^:,]+:)?([1-9][0-9]*)$ ]]; then
        spec=${BASH_REMATCH[2]}
        if [[ ${nodes:=1} =~ ^[1-9][0-9]*$ ]] && ((spec % nodes == 0)); then
            printf '%s\n' "$((spec / nodes))"
        fi
    fi
}

asks_for_gpus() {
    local word
    for word in ${options[@]+"${options[@]}"}; do
        case $word in --gres | --gres=* | --gpus | --gpus[-=]* | -G*) return ;; esac
    done
    return 1
}

# Whether the cluster, or the partition asked for, has GPUs.
cluster_has_gpus() {
    local partition gpus
    partition=$(option --partition -p)
    partition=${partition:-${SBATCH_PARTITION:-}}
    gpus=$(sinfo --noheader ${partition:+--partition="$partition"} --format=%G) ||
        die "sinfo failed, for the reason above; without it, say what to ask for: --gres=gpu:1 or --gres=none"
    grep -q gpu <<<"$gpus"
}

# Print the config files to submit, a line each.
configs() {
    local found
    if [ -n "$pattern" ]; then
        found=$(find experiment_configs -name "$pattern.yaml" | sort)
        [ -n "$found" ] || die "--all $pattern: no experiment_configs/**/$pattern.yaml"
        printf '%s\n' "$found"
        return
    fi
    case $name in
    *[*?[]*) die "$name: for all configs that match, use --all '$name'" ;;
    */* | *.yaml) die "$name: give the name alone, without folder and .yaml" ;;
    esac
    found=$(find experiment_configs -name "$name.yaml" | sort)
    case $(grep -c . <<<"$found") in
    0) printf 'config.yaml\n' ;;
    1) printf '%s\n' "$found" ;;
    *) die "$name is the name of several configs; rename all but one:"$'\n'"$found" ;;
    esac
}

# Print what both scripts begin with: directives that the command line and SBATCH_... variables go over.
directives() { # JOB LOG
    printf '#!/bin/bash\n'
    printf '#SBATCH --job-name=%s\n' "$1"
    printf '#SBATCH --output="%s/logs/%s"\n' "${folder//%/%%}" "$2"
    shift 2
    printf '#SBATCH %s\n' "$@"
}

# Print the batch script of the runs.
runs_script() { # NAME RUNS SNAPSHOT
    directives "$1" 'run_%a_job_%A.out' --array="1-$2" --time=12:00:00 --nodes=1 \
        --cpus-per-task="$((2 * processes))" --mem="$((6 * processes))G" ${gres:+"$gres"} \
        --signal=B:USR1@120 --requeue --open-mode=append
    printf 'cd %q || exit\n' "$PWD"
    printf 'python=%q processes=%q\n' "$python" "$processes"
    # shellcheck disable=SC2016  # for the script
    printf 'run_folder=%q/run_$SLURM_ARRAY_TASK_ID\n' "$folder"
    # shellcheck disable=SC2016  # for the script
    printf 'program=(src.cli --config_path %q --output_dir %q --run "$SLURM_ARRAY_TASK_ID")\n' "$3" "$output_dir"
    cat <<'SCRIPT'
nodes=${SLURM_JOB_NUM_NODES:-1}
threads=$((${SLURM_CPUS_PER_TASK:-1} / processes))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}

# Several processes are torchrun's. It hands the signals below to them, and gives them time to save their state.
torchrun=("$python" -m torch.distributed.run --nnodes="$nodes" --nproc-per-node="$processes"
    --signals-to-handle="SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
program_there=(-m -- "${program[@]}") # torchrun would take --run for an option of its own
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=100
if ((nodes > 1)); then
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    command=(srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1
        --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1
        "${torchrun[@]}" --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID"
        --rdzv-endpoint="$first:$((20000 + SLURM_JOB_ID % 10000))" "${program_there[@]}")
elif ((processes > 1)); then
    command=("${torchrun[@]}" --standalone "${program_there[@]}")
else
    command=("$python" -m "${program[@]}")
fi

# How far the run has come.
progress() { cat "$run_folder/rounds.jsonl" "$run_folder/training.pt" 2>/dev/null | cksum; }
before=$(progress)

# The program runs in the background, since bash runs a trap only between commands or in `wait`.
caught='' pid=''
# shellcheck disable=SC2329  # by the traps
forward() {
    caught=$1
    [ -z "$pid" ] || kill -s "$1" "$pid" 2>/dev/null
}
trap 'forward USR1' USR1
trap 'forward TERM' TERM
"${command[@]}" &
pid=$!
[ -z "$caught" ] || kill -s "$caught" "$pid"
wait "$pid"
while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done # a trap cuts it short
wait "$pid" # the status, also of what has ended before
status=$?

# The program says by status 75 that it stopped on request and goes on when started again. Where the signal met it
# before it could listen, or torchrun, it ended otherwise, and goes on just as well.
if ((status == 75)) || { [ -n "$caught" ] && ((status != 0)); }; then
    # By array and task: the job id of an array's last task means the whole array.
    task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    # A job that was cancelled is not running any more, and must not come back.
    if ((${SLURM_RESTART_COUNT:-0} >= 3)) && [[ $before == "$(progress)" ]]; then
        # It would be stopped and queued again without end, and come to nothing.
        echo "error: run $SLURM_ARRAY_TASK_ID was started $((SLURM_RESTART_COUNT + 1)) times and came no further this time:" \
            "it is not queued again; raise --time, or let --signal come later (by default two minutes before the" \
            "time limit), and submit again" >&2
    elif [[ $(scontrol --oneliner show job "$task") =~ JobState=RUNNING ]]; then
        echo "stopped on request: run $SLURM_ARRAY_TASK_ID goes back to the queue"
        scontrol requeue "$task"
    fi
fi
exit "$status"
SCRIPT
}

# Print the batch script that merges the runs.
merge_script() { # NAME SNAPSHOT
    directives "$1-merge" 'merge_job_%j.out' --time=30 --mem=4G --cpus-per-task=1
    printf 'cd %q || exit\n' "$PWD"
    printf 'exec %q -m src.cli --config_path %q --output_dir %q --merge\n' "$python" "$2" "$output_dir"
}

# Give a script to sbatch and print the job's id; with --dry-run print the script instead.
submit() { # SCRIPT [sbatch options]
    local script=$1 id
    shift
    if [ -n "$dry_run" ]; then
        printf '%s\n# sbatch' "${script%%$'\n'*}"
        [ $# -eq 0 ] || printf ' %q' "$@"
        printf '\n%s\n' "${script#*$'\n'}"
        return
    fi
    id=$(sbatch --parsable "$@" <<<"$script") || return
    printf '%s\n' "${id%%;*}"
}

# Submit an experiment: its runs, and the merging that waits for them.
submit_experiment() { # NAME RUNS SNAPSHOT
    local folder=$output_dir/$1 runs_job merge_job value spelling kept=()
    [ -n "$dry_run" ] || mkdir -p "$folder/logs"
    # Whom the merging is charged to and where it runs; it needs nothing else of what the runs asked for.
    for spelling in '--account -A' '--partition -p' '--qos -q' '--reservation' '--clusters -M'; do
        # shellcheck disable=SC2086  # two words
        value=$(option $spelling)
        [ -z "$value" ] || kept+=("${spelling%% *}=$value")
    done
    runs_job=$(submit "$(runs_script "$@")" ${options[@]+"${options[@]}"}) ||
        die "$1: sbatch refused, for the reason above; nothing of it is queued"
    if [ -n "$dry_run" ]; then
        printf '%s\n\n' "$runs_job"
        submit "$(merge_script "$1" "$3")" --dependency=afterany:RUNS_JOB ${kept[@]+"${kept[@]}"}
        return
    fi
    [ -n "$runs_job" ] || return 0 # as with --test-only
    merge_job=$(submit "$(merge_script "$1" "$3")" --dependency="afterany:$runs_job" ${kept[@]+"${kept[@]}"}) ||
        die "$1: job $runs_job is queued, but not the merging; do it later: bash run.sh --config_path $3 --merge"
    printf '%s: runs 1 to %s in job %s, then merging in job %s; logs in %s\n' \
        "$1" "$2" "$runs_job" "$merge_job" "$folder/logs"
}

case ${1:-} in
'' | -h | --help)
    sed -n '2,/^set /s/^# \{0,1\}//p' gpu_experiment.sh
    exit
    ;;
esac

read_command_line "$@"
[ -n "$dry_run" ] || command -v sbatch >/dev/null ||
    die "there is no sbatch here: run this where SLURM is, try --dry-run, or run it here: bash run.sh ${name:-NAME}"
case $output_dir in /*) ;; *) output_dir=$PWD/$output_dir ;; esac

found=$(configs)
mapfile -t files <<<"$found"
own_name=()
if [ "$found" = config.yaml ]; then
    say "no experiment_configs/**/$name.yaml: config.yaml is submitted as $name"
    own_name=(--set "name='$name'")
fi
python=${PYTHON:-$(bash run.sh --python)}
plans=$("$python" -m src.submission ${dry_run:+--dry-run} --output_dir "$output_dir" \
    ${own_name[@]+"${own_name[@]}"} ${overrides[@]+"${overrides[@]}"} "${files[@]}")

gres=''
[ -n "$processes" ] || processes=$(gpus_a_node)
if ! asks_for_gpus; then
    if ! command -v sinfo >/dev/null; then
        say "no SLURM here: where the cluster has GPUs, --gres=gpu:1 is added"
    elif cluster_has_gpus; then
        gres=--gres=gpu:${processes:-1}
    else
        say "the cluster has no GPU to offer here: the runs will be on CPUs"
    fi
fi
processes=${processes:-1}

while IFS=$'\t' read -r experiment runs snapshot; do
    submit_experiment "$experiment" "$runs" "$snapshot"
done <<<"$plans"
