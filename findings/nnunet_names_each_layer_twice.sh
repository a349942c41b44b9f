#!/usr/bin/env bash
# The state of nnU-Net's networks holds each tensor several times, and safetensors refuses it.
#
# In dynamic-network-architectures 0.4.4 a block registers its convolution and its norm by name and
# once more in a sequence of all of them, and the decoder registers the encoder again. A state_dict
# therefore names the tensors of the encoder four times and those of the decoder twice. torch.save
# keeps one copy of each, safetensors' save_file raises; its save_model, or one name for each layer
# (examples/nnunet_networks.py), helps.
#
# Seen with torch 2.13.0, safetensors 0.8.0, a PlainConvUNet of three levels without deep supervision:
#   54 names for 21 tensors; up to 4 names for one
#   save_file: RuntimeError, tensors share memory
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 torch==2.13.0 safetensors==0.8.0
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check --no-deps \
    dynamic-network-architectures==0.4.4
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from collections import Counter

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from safetensors.torch import save_file
from torch import nn

network = PlainConvUNet(
    input_channels=1, n_stages=3, features_per_stage=[4, 8, 16], conv_op=nn.Conv3d,
    kernel_sizes=3, strides=[1, 2, 2], n_conv_per_stage=1, num_classes=2,
    n_conv_per_stage_decoder=1, norm_op=nn.InstanceNorm3d, norm_op_kwargs={"affine": True},
    nonlin=nn.LeakyReLU,
)
state = network.state_dict()
names = Counter(tensor.data_ptr() for tensor in state.values())
print(f"{len(state)} names for {len(names)} tensors; up to {max(names.values())} names for one")
try:
    save_file(state, "weights.safetensors")
    told = "saved"
except RuntimeError as error:
    told = "RuntimeError, tensors share memory" if "share memory" in str(error) else str(error)
print(f"save_file: {told}")
assert (len(state), len(names), max(names.values())) == (54, 21, 4), "the behaviour has changed"
assert told.startswith("RuntimeError, tensors"), "the behaviour has changed"
PY
