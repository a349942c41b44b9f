#!/usr/bin/env bash
# The same line gives the sample's standard deviation in pandas 2 and the population's in pandas 3.
#
# pandas 2 replaced np.std by its own std (n - 1) inside agg and pivot_table; pandas 3 calls np.std
# (n). A table "mean +- SD" of a script that was not touched shrinks: by 18 % for three seeds or
# folds, 11 % for five. agg("std") and .std() divide by n - 1 in both.
#
# Seen with numpy 2.4.6 and Dice of 0.7, 0.8, 0.9; pandas 2.3.3 said 0.1000 three times:
#   pandas 3.1.1: agg(np.std) 0.0816, pivot_table(aggfunc=np.std) 0.0816, agg("std") 0.1000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check numpy==2.4.6 pandas==3.1.1
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import pandas as pd

scores = pd.DataFrame({"model": ["a"] * 3, "dice": [0.7, 0.8, 0.9]})
grouped = scores.groupby("model")["dice"]
seen = (
    grouped.agg(np.std).item(),
    scores.pivot_table(index="model", values="dice", aggfunc=np.std).to_numpy().item(),
    grouped.agg("std").item(),
)
print('pandas {}: agg(np.std) {:.4f}, pivot_table(aggfunc=np.std) {:.4f}, agg("std") {:.4f}'.format(
    pd.__version__, *seen))
assert np.allclose(seen, (0.0816, 0.0816, 0.1), atol=1e-4), "the behaviour has changed"
PY
