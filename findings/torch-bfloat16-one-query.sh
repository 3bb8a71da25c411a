#!/usr/bin/env bash
# torch on a processor: attention of one token, the step of a generation, is slower in bfloat16 than in float32.
#
# Versions: torch 2.13.0 (CPU), on an AMD processor with AVX-512 and its bfloat16 instructions.
# Expected: scaled_dot_product_attention in bfloat16, which reads half the bytes and whose products the processor knows, takes at most
#           as long as in float32, as the same formula written out does (matmul, softmax, matmul).
# Seen:     with one query and 40 to 400 keys it takes 3 to 5 times as long as in float32, and 3 to 6 times as long as written out.
# So:       a model that is sampled on a processor through torch is sampled in float32, or with attention written out.
#
# Ends with 0 as long as bfloat16 takes at least twice as long as both, with 1 where that has changed, with 2 on a processor without
# these instructions. All are measured in one run, one thread, best of thirty. Installs 1 GB; TORCH_PYTHON names a Python that has it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${TORCH_PYTHON:-$folder/venv/bin/python}
if [[ -z ${TORCH_PYTHON:-} ]]; then
    python3 -m venv "$folder/venv"
    "$python" -m pip install --quiet torch==2.13.0
fi
"$python" - <<'PYTHON'
import sys
import time
import torch
from torch.nn.functional import scaled_dot_product_attention

def written_out(query, key, value):
    return ((query @ key.mT) * query.shape[-1] ** -0.5).softmax(-1) @ value

def best_ms(function, *given):
    times = []
    for _ in range(31):
        start = time.perf_counter()
        function(*given)
        times.append(time.perf_counter() - start)
    return min(times[1:]) * 1e3

print(f"torch {torch.__version__}")
if not torch.cpu._is_avx512_bf16_supported():
    sys.exit(2)
torch.set_num_threads(1)
torch.manual_seed(0)
holds = True
for n_keys in (40, 100, 400):
    drawn = [torch.randn(48, 6, n, 32) for n in (1, n_keys, n_keys)]
    short = [one.bfloat16() for one in drawn]
    single, half = best_ms(scaled_dot_product_attention, *drawn), best_ms(scaled_dot_product_attention, *short)
    plain = best_ms(written_out, *short)
    print(f"{n_keys} keys: float32 {single:.2f} ms, bfloat16 {half:.2f} ms, written out in bfloat16 {plain:.2f} ms")
    holds &= half > 2 * single and half > 2 * plain
sys.exit(0 if holds else 1)
PYTHON
