#!/usr/bin/env bash
# Two systems with equal scores make another comparison lose its significance, or not, by package.
#
# scipy.stats.wilcoxon of 14 or more equal pairs is NaN (1 up to 13). statsmodels' Holm counts the
# NaN among the comparisons, pingouin's leaves it out: the same 0.02 becomes 0.06 or 0.04. With
# Benjamini-Hochberg, statsmodels returns NaN for every comparison and still rejects two of them.
#
# Seen with scipy 1.17.1, statsmodels 0.15.0, pingouin 0.7.0, p = 0.001, NaN, 0.04, 0.02:
#   wilcoxon of 13 equal pairs 1.0, of 14 nan
#   Holm in statsmodels [0.004   nan 0.08  0.06 ] -> 1 significant
#   Holm in pingouin    [0.003   nan 0.04  0.04 ] -> 3 significant
#   Benjamini-Hochberg in statsmodels [nan nan nan nan] -> 2 significant
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 statsmodels==0.15.0 pingouin==0.7.0
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from pingouin import multicomp
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

thirteen, fourteen = (float(wilcoxon(np.zeros(n)).pvalue) for n in (13, 14))
print(f"wilcoxon of 13 equal pairs {thirteen}, of 14 {fourteen}")
values = [0.001, fourteen, 0.04, 0.02]
seen = {
    "Holm in statsmodels": multipletests(values, method="holm")[:2],
    "Holm in pingouin   ": multicomp(values, method="holm"),
    "Benjamini-Hochberg in statsmodels": multipletests(values, method="fdr_bh")[:2],
}
for name, (rejected, adjusted) in seen.items():
    print(name, np.round(adjusted, 4), "->", int(np.sum(rejected)), "significant")
assert thirteen == 1 and np.isnan(fourteen), "the behaviour has changed"
counts = [int(np.sum(rejected)) for rejected, _ in seen.values()]
assert counts == [1, 3, 2], "the behaviour has changed"
assert np.isnan(seen["Benjamini-Hochberg in statsmodels"][1]).all(), "the behaviour has changed"
PY
