"""The networks of the PyTorch peer: those of the paper, and the image branches of `--network`."""

import torch
import torch.nn.functional as F
from torch import nn


class ImageBranch(nn.Module):
    def __init__(self, channels, side):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 128, 3)
        self.fc = nn.Linear(128 * (((side - 2) // 2 - 4) // 2) ** 2, 256)
        self.norm = nn.BatchNorm1d(256)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        x = self.dropout(F.max_pool2d(F.relu(self.conv1(x)), 2))
        x = self.dropout(F.relu(self.conv2(x)))
        x = self.dropout(F.max_pool2d(F.relu(self.conv3(x)), 2))
        return self.norm(self.fc(x.flatten(1)))


class ConvNorm(nn.Conv2d):
    """A convolution without bias, batch norm, ReLU, and a pool if asked for; the names of parameters are ours."""

    def __init__(self, before, channels, pool=False):
        super().__init__(before, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = pool

    def forward(self, x):
        x = F.relu(self.norm(super().forward(x)))
        return F.max_pool2d(x, 2) if self.pool else x


class Pair(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(channels, channels), ConvNorm(channels, channels)

    def forward(self, x):
        return x + self.conv2(self.conv1(x))


class Resnet(nn.Module):
    """`--network resnet:W`."""

    def __init__(self, channels, width):
        super().__init__()
        self.conv1 = ConvNorm(channels, width)
        self.conv2 = ConvNorm(width, 2 * width, pool=True)
        self.pair1 = Pair(2 * width)
        self.conv3 = ConvNorm(2 * width, 4 * width, pool=True)
        self.conv4 = ConvNorm(4 * width, 8 * width, pool=True)
        self.pair2 = Pair(8 * width)
        self.fc, self.norm = nn.Linear(8 * width, 256), nn.BatchNorm1d(256)

    def forward(self, x):
        x = self.pair1(self.conv2(self.conv1(x)))
        x = self.pair2(self.conv4(self.conv3(x)))
        return self.norm(self.fc(F.adaptive_max_pool2d(x, 1).flatten(1)))


class VitLayer(nn.Module):
    HEAD = 32

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, length, 3, width // self.HEAD, self.HEAD)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, width)
        x = x + self.out(mixed)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class Vit(nn.Module):
    """`--network vit:W,D,P`."""

    def __init__(self, channels, side, width, depth, patch):
        super().__init__()
        self.patch, self.depth = patch, depth
        self.tokens = nn.Linear(channels * patch * patch, width)
        self.positions = nn.Parameter(torch.zeros(1, (side // patch) ** 2, width))
        for i in range(1, depth + 1):
            self.add_module(f"layer{i}", VitLayer(width))
        self.layer_norm = nn.LayerNorm(width)
        self.fc, self.norm = nn.Linear(width, 256), nn.BatchNorm1d(256)

    def forward(self, x):
        # [N, C · P · P, tokens], in the order of our patches.
        patches = F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)
        x = self.tokens(patches) + self.positions
        for i in range(1, self.depth + 1):
            x = self.get_submodule(f"layer{i}")(x)
        return self.norm(self.fc(self.layer_norm(x).mean(1)))


def image_branch(network, channels, side):
    """The image branch of `--network`."""
    name, _, sizes = network.partition(":")
    if name == "paper":
        return ImageBranch(channels, side)
    if name == "resnet":
        return Resnet(channels, int(sizes))
    if name == "vit":
        return Vit(channels, side, *map(int, sizes.split(",")))
    raise ValueError(f"no peer for the network {network}")


class LabelBranch(nn.Module):
    def __init__(self, dimension):
        super().__init__()
        self.fc1, self.norm1 = nn.Linear(dimension, 256), nn.BatchNorm1d(256)
        self.fc2, self.norm2 = nn.Linear(256, 256), nn.BatchNorm1d(256)
        self.fc3, self.norm3 = nn.Linear(256, 256), nn.BatchNorm1d(256)

    def forward(self, z):
        h = F.relu(self.norm1(self.fc1(z)))
        return h + self.norm3(self.fc3(F.relu(self.norm2(self.fc2(h)))))


class Joint(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc1, self.norm1 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.fc2, self.norm2 = nn.Linear(256, 128), nn.BatchNorm1d(128)
        self.fc3 = nn.Linear(128, classes)

    def forward(self, x):
        x = F.relu(self.norm1(self.fc1(x)))
        return self.fc3(F.relu(self.norm2(self.fc2(x))))


class Head(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.label = LabelBranch(classes)
        self.joint = Joint(classes)

    def forward(self, features, z):
        return self.joint(torch.cat([features, self.label(z)], 1))
