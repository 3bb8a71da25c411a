#!/usr/bin/env bash
# vl-convert gives one picture as PDFs of different bytes.
#
# Version:  vl-convert-python 1.9.0.post1.
# Expected: one SVG makes one PDF, as it makes one PNG: figures that can be compared and kept by their digest.
# Seen:     the entries of a page's dictionary of resources (fonts, or states of opacity) come in another order from
#           call to call, within one process too. The picture is the same, and so is the length of the file.
# So:       the objects of a PDF are put in order before it is kept; line by line without regard to order is not enough
#           where a page has two fonts.
#
# Ends with 0 as long as that is so, with 1 where PDFs have become equal or PNGs differ too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet vl-convert-python==1.9.0.post1
"$folder/venv/bin/python" - <<'PYTHON'
import vl_convert

boxes = "".join(
    f'<rect x="{20 * at}" y="10" width="15" height="15" fill="steelblue" fill-opacity="0.{at + 1}"/>' for at in range(8)
)
svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="60">{boxes}</svg>'
pdfs = {vl_convert.svg_to_pdf(svg) for _ in range(40)}
pngs = {vl_convert.svg_to_png(svg) for _ in range(5)}
in_order = {b"\n".join(sorted(pdf.splitlines())) for pdf in pdfs}
print(f"40 PDFs of one picture: {len(pdfs)} different ones, {len(in_order)} but for the order of lines; 5 PNGs: {len(pngs)}")
raise SystemExit(not (len(pdfs) > 1 and len(in_order) == 1 and len(pngs) == 1))
PYTHON
