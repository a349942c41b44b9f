#!/usr/bin/env bash
# A pair of systems with equal scores costs other pairs their significance, and then is no number.
#
# scipy.stats.wilcoxon of 14 or more equal pairs is NaN (1 up to 13). statsmodels' multipletests
# takes the NaN without a word and counts it among the comparisons: by Holm, 0.04 and 0.02 become
# 0.08 and 0.06, where they are 0.04 and 0.04 without it. By Benjamini and Hochberg every corrected
# value is NaN, and two hypotheses are rejected all the same.
#
# Seen with scipy 1.17.1, statsmodels 0.15.0, pandas 3.1.1, numpy 2.4.6:
#   wilcoxon of 13 equal pairs 1.0, of 14 nan
#   Holm [0.004   nan 0.08  0.06 ] -> 1 significant
#   Holm without it [0.003 0.04  0.04 ] -> 3 significant
#   Benjamini-Hochberg [nan nan nan nan] -> 2 significant
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 statsmodels==0.15.0
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

thirteen, fourteen = (float(wilcoxon(np.zeros(n)).pvalue) for n in (13, 14))
print(f"wilcoxon of 13 equal pairs {thirteen}, of 14 {fourteen}")
values = np.array([0.001, fourteen, 0.04, 0.02])
seen = {
    "Holm": multipletests(values, method="holm"),
    "Holm without it": multipletests(values[~np.isnan(values)], method="holm"),
    "Benjamini-Hochberg": multipletests(values, method="fdr_bh"),
}
for name, (rejected, corrected, *_) in seen.items():
    print(name, np.round(corrected, 4), "->", int(rejected.sum()), "significant")
assert thirteen == 1 and np.isnan(fourteen), "the behaviour has changed"
counts = [int(rejected.sum()) for rejected, *_ in seen.values()]
assert counts == [1, 3, 2], "the behaviour has changed"
assert np.isnan(seen["Benjamini-Hochberg"][1]).all(), "the behaviour has changed"
PY
