#!/usr/bin/env bash
# FlopCounterMode counts nothing for a transformer layer as it is used in a clinic.
#
# In eval mode without gradients, torch.nn's attention layers take a fused path, and the fused
# operators of torch 2.13.0 have no formula in torch.utils.flop_counter: the count is 0, without a
# word. In eval with gradients a quarter is missing. A table of "inference GFLOPs" then says that a
# transformer costs nothing beside a convolution. In training mode the count is as by hand:
# 2 (4 n d^2 + 2 n^2 d + 2 n d h) = 16.8 M for n = 128, d = 64, h = 256.
#
# Seen:
#   training 16777216, eval with gradients 12582912, eval without 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check numpy==2.4.6 torch==2.13.0
"$work/venv/bin/python" -W ignore - <<'PY'
import torch
from torch.utils.flop_counter import FlopCounterMode

TOKENS, WIDTH, HIDDEN = 128, 64, 256
layer = torch.nn.TransformerEncoderLayer(WIDTH, 4, HIDDEN, batch_first=True)


def counted(training, gradients):
    layer.train(training)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(gradients):
        layer(torch.zeros(1, TOKENS, WIDTH))
    return counter.get_total_flops()


by_hand = 2 * (4 * TOKENS * WIDTH**2 + 2 * TOKENS**2 * WIDTH + 2 * TOKENS * WIDTH * HIDDEN)
seen = counted(True, True), counted(False, True), counted(False, False)
print("training {}, eval with gradients {}, eval without {}".format(*seen))
assert seen == (by_hand, by_hand * 3 // 4, 0), "the behaviour has changed"
PY
