"""PyTorch's side of the single layers in `cargo xtask bench ops`; the requests are those of the example `layers` of noprop-kernels.

Each layer runs eager, with the usual memory layout and with channels_last, and the faster of the two counts.

    python torch_layers.py 2        # threads
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from torch_network import Resnet, VitLayer

BATCH = 128
HEAD = 32


def layer_of(words):
    """The shape of a batch, the module and the layer as a function of the batch."""
    if words[0] == "conv":
        c_in, c_out, side = map(int, words[1:4])
        module = nn.Conv2d(c_in, c_out, 3, padding=1)
        return (BATCH, c_in, side, side), module, module
    channels, side = int(words[1]), int(words[2])
    if words[0] == "resnet":
        module = convolutions(channels)
        return (BATCH, 3, side, side), module, module
    # For a transformer the two are the width and the tokens.
    if words[0] == "layer_norm":
        module = nn.LayerNorm(channels)
        return (BATCH * side, channels), module, module
    if words[0] == "gelu":
        return (BATCH * side, channels), nn.Identity(), lambda x: F.gelu(x, approximate="tanh")
    if words[0] == "transformer":
        module = VitLayer(channels)
        return (BATCH, side, channels), module, module
    if words[0] == "attention":
        return (BATCH, side, 3 * channels), nn.Identity(), attention
    shape = (BATCH, channels, side, side)
    return shape, nn.Identity(), lambda x: F.adaptive_max_pool2d(x, 1)


def attention(qkv):
    n, length, width = qkv.shape
    q, k, v = qkv.view(n, length, 3, width // 3 // HEAD, HEAD).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, width // 3)


def convolutions(width):
    """Those of `--network resnet:W`, with batch norms, pools and residual pairs."""
    network = Resnet(3, width)
    layers = (network.conv1, network.conv2, network.pair1, network.conv3, network.conv4, network.pair2)
    return nn.Sequential(*layers)


def seconds(words, memory_format):
    shape, module, layer = layer_of(words[:-1])
    x = torch.randn(shape)
    if len(shape) == 4:
        module.to(memory_format=memory_format)
        x = x.to(memory_format=memory_format)
    backward = words[-1] == "backward"
    x.requires_grad_(backward and shape[1] != 3)
    for _ in range(2):
        x.grad = None
        module.zero_grad()
        begun = time.perf_counter()
        with torch.set_grad_enabled(backward):
            y = layer(x)
            if backward:
                y.sum().backward()
        taken = time.perf_counter() - begun
    return taken


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    for line in sys.stdin:
        words = json.loads(line).split()
        formats = (torch.contiguous_format, torch.channels_last)
        best = min(seconds(words, memory_format) for memory_format in formats)
        print(json.dumps({"seconds": [best]}), flush=True)


main()
