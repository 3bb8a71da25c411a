#!/usr/bin/env bash
# The gguf package and ggml disagree about how large a block of Q8_1 is.
#
# Versions: gguf 0.19.0; ggml as in the sources of llama-cpp-python 0.3.36.
# Expected: one size. ggml's block_q8_1 is two halves and 32 bytes: 36 bytes for 32 values.
# Seen:     gguf.GGML_QUANT_SIZES says 40 bytes, as if both scales were floats, as they once were.
# So:       where a tensor of this type begins and ends has to be computed from ggml's sizes.
#
# Ends with 0 as long as that is so, with 1 where either side has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gguf==0.19.0
"$folder/venv/bin/pip" download --quiet --no-deps --no-binary llama-cpp-python --dest "$folder" llama-cpp-python==0.3.36
header=$(tar --extract --to-stdout --wildcards --file "$folder"/llama_cpp_python-0.3.36.tar.gz '*/ggml/src/ggml-common.h')

python_bytes=$("$folder/venv/bin/python" -c '
import gguf
values, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_1]
assert values == 32
print(size)')
halves=$(sed -n 's/^static_assert(sizeof(block_q8_1) == \([0-9]*\)\*sizeof(ggml_half) + QK8_1.*/\1/p' <<<"$header")
values=$(sed -n 's/^#define QK8_1 *\([0-9]*\).*/\1/p' <<<"$header")
c_bytes=$((halves * 2 + values))

echo "a block of Q8_1: gguf $python_bytes bytes, ggml $c_bytes bytes"
[[ $python_bytes == 40 && $c_bytes == 36 ]]
