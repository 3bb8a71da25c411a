#!/usr/bin/env bash
# Ray prints that a worker died on the driver's standard output, also when its logs are not wanted there.
#
# Version:  ray 2.60.0.
# Expected: ray.init(log_to_driver=False, logging_level="ERROR") keeps standard output for the program's own results: what
#           went wrong is raised by ray.get, and is caught.
# Seen:     when an actor's process ends, a notice of some hundred words that begins with "(raylet)" is printed on standard
#           output, in the middle of the results, beside the exception.
# So:       a program whose standard output is read by another one talks to Ray from a process of its own.
#
# Ends with 0 as long as that is so, with 1 where standard output has the program's lines alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ray==2.60.0
cat >"$folder/results.py" <<'PYTHON'
import os
import time

import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")


@ray.remote(max_restarts=0)
class Worker:
    def end(self):
        os._exit(3)


try:
    ray.get(Worker.remote().end.remote())
except ray.exceptions.ActorDiedError:
    print("result: the worker died", flush=True)
time.sleep(5)  # the notice may come later
ray.shutdown()
PYTHON
HOME=$folder RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0 "$folder/venv/bin/python" "$folder/results.py" \
    >"$folder/stdout" 2>"$folder/stderr"
printf 'lines on standard output: %s, of these of the program: %s, with (raylet): %s\n' "$(wc -l <"$folder/stdout")" \
    "$(grep -c '^result: the worker died$' "$folder/stdout")" "$(grep -c '(raylet)' "$folder/stdout" || true)"
grep -q '(raylet)' "$folder/stdout"
