"""PyTorch's side of `cargo xtask bench`.

The same network, batch, optimizer and thread count as ours, in the style of a PyTorch user: `nn.Module`s, one `backward` over the
sum of the block losses if blocks share an encoder, and the fused AdamW. Each line of input is a JSON request, and each line of
output a JSON object in answer; the requests are those of `bench_worker.rs`.

The ways of the CPU are "eager", "channels-last" (eager with that memory layout), "compiled" (torch.compile of every module) and
"compiled-channels-last". On a GPU there are three ways for blocks that share nothing: "eager" and "compiled" (torch.compile with CUDA
graphs) run them one after another, "vmap" all at once.

    python torch_peer.py 2        # threads
"""

import copy
import json
import math
import resource
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state

from torch_network import Head, image_branch

BATCH = 128
COMPARED = 128
S = 0.008


def alpha_bar(t, steps):
    """The cosine schedule: the signal's share after block t."""
    tau = t / steps
    return math.cos(math.pi / 2 * ((1 - tau) + S) / (1 + S)) ** 2


def named(module, prefix, tensors):
    """Loads our weights, which have the same names, a leading block dimension, and other words for batch norm."""
    words = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
    state = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            *path, last = name[len(prefix):].split(".")
            state[".".join([*path, words.get(last, last)])] = tensor.squeeze(0)
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = value
    module.load_state_dict(state)


class Block(nn.Module):
    """An encoder and a head, for the ways in which a block is one function."""

    def __init__(self, encoder, head):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images, z, clean):
        guess = F.softmax(self.head(self.encoder(images), z), 1)
        return ((guess - clean) ** 2).sum(1).mean()


def forget_statistics(module):
    """Removes running statistics, which vmap does not support."""
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None


class Peer:
    def __init__(self, setup):
        self.device = torch.device(setup.get("device") or "cpu")
        self.way = setup.get("way") or "eager"
        precision = setup.get("precision") or "f32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.bf16 = precision == "bf16"
        self.steps = setup["blocks"]
        self.kind = setup["encoder"]
        folder = Path(setup["share"])
        data = load_file(folder / "data.safetensors")
        self.images, self.labels = data["train.images"], data["train.labels"].long()
        self.test, self.test_labels = data["test.images"], data["test.labels"].long()
        self.images, self.labels = self.images.to(self.device), self.labels.to(self.device)
        self.test, self.test_labels = self.test.to(self.device), self.test_labels.to(self.device)
        channels, side = self.images.shape[1], self.images.shape[2]
        self.classes = 10
        encoders = self.steps if self.kind == "per-block" else 1
        network = setup.get("network") or "paper"
        self.encoders = [image_branch(network, channels, side) for _ in range(encoders)]
        self.heads = [Head(self.classes) for _ in range(self.steps)]
        self.readout = nn.Linear(self.classes, self.classes)
        weights = load_file(folder / "weights.safetensors")
        for t, head in enumerate(self.heads, 1):
            tensors = {k: v for k, v in weights.items() if ".image." not in k}
            named(head, f"block.{t}.", tensors)
        for t, encoder in enumerate(self.encoders, 1):
            prefix = f"block.{t}.image." if self.kind == "per-block" else "encoder.image."
            named(encoder, prefix, weights)
        del weights
        for module in [*self.encoders, *self.heads, self.readout]:
            module.to(self.device)
        self.layout = torch.contiguous_format
        if self.way.endswith("channels-last"):
            self.layout = torch.channels_last
            for encoder in self.encoders:
                encoder.to(memory_format=self.layout)
        settings = dict(lr=1e-3, weight_decay=1e-3, fused=True)
        if self.kind == "per-block":
            units = [[e, h] for e, h in zip(self.encoders, self.heads)]
        elif self.kind == "shared":
            units = [[*self.encoders, *self.heads]]
        else:
            units = [[head] for head in self.heads]
        self.optimizers = [
            torch.optim.AdamW([p for m in unit for p in m.parameters()], **settings) for unit in units
        ]
        self.readout_optimizer = torch.optim.AdamW(self.readout.parameters(), **settings)
        self.order, self.at, self.whole_epoch = None, 0, False
        self.prepare()
        self.features = None
        if self.kind == "frozen":
            with torch.inference_mode():
                self.encoders[0].eval()
                parts = [self.encoders[0](self.batch_of(chunk)) for chunk in self.images.split(512)]
                self.features = torch.cat(parts).clone()

    def prepare(self):
        """Prepares the ways other than the eager ones."""
        if self.device.type == "cpu":
            if self.way.startswith("compiled"):
                for module in [*self.encoders, *self.heads]:
                    module.compile()
        elif self.way == "compiled":
            blocks = [Block(e, h) for e, h in zip(self.encoders, self.heads)]
            self.compiled = [torch.compile(block, mode="reduce-overhead") for block in blocks]
        elif self.way == "vmap":
            copies = [Block(copy.deepcopy(e), copy.deepcopy(h)) for e, h in zip(self.encoders, self.heads)]
            for block in copies:
                forget_statistics(block)
            parameters, buffers = stack_module_state(copies)
            template = copies[0].to("meta")
            self.stacked = parameters
            self.stacked_optimizer = torch.optim.AdamW(
                parameters.values(), lr=1e-3, weight_decay=1e-3, fused=True
            )
            shares = torch.tensor([alpha_bar(t, self.steps) for t in range(self.steps)], device=self.device)
            self.signal, self.noise = shares.sqrt().view(-1, 1, 1), (1 - shares).sqrt().view(-1, 1, 1)

            def loss(parameters, buffers, images, z, clean):
                return functional_call(template, (parameters, buffers), (images, z, clean))

            found = torch.vmap(
                grad_and_value(loss), in_dims=(0, 0, None, 0, None), randomness="different"
            )
            self.gradients = lambda *arguments: found(parameters, buffers, *arguments)

    def step_stacked(self, inputs, labels):
        clean = F.one_hot(labels, self.classes).float()
        z = self.signal * clean + self.noise * torch.randn(self.steps, *clean.shape, device=self.device)
        gradients, _ = self.gradients(inputs, z, clean)
        for name, parameter in self.stacked.items():
            parameter.grad = gradients[name]
        self.stacked_optimizer.step()

    def batch_of(self, images):
        return (images.float() / 255).contiguous(memory_format=self.layout)

    def batch(self):
        count = len(self.labels)
        # Steps have whole batches: another size would be compiled anew, within the time that is measured.
        needed = 1 if self.whole_epoch else BATCH
        if self.order is None or self.at + needed > count:
            self.order, self.at = torch.randperm(count, device=self.device), 0
        rows = self.order[self.at:self.at + BATCH]
        self.at += BATCH
        inputs = self.images[rows] if self.features is None else self.features[rows]
        return (self.batch_of(inputs) if self.features is None else inputs), self.labels[rows]

    def encoder(self, t):
        return self.encoders[t if self.kind == "per-block" else 0]

    def block_loss(self, t, features, labels):
        clean = F.one_hot(labels, self.classes).float()
        share = alpha_bar(t, self.steps)
        z = math.sqrt(share) * clean + math.sqrt(1 - share) * torch.randn_like(clean)
        guess = F.softmax(self.heads[t](features, z), 1)
        return ((guess - clean) ** 2).sum(1).mean()

    def step_block(self, t, inputs, labels):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if self.device.type != "cpu" and self.way == "compiled":
                clean = F.one_hot(labels, self.classes).float()
                share = alpha_bar(t, self.steps)
                z = math.sqrt(share) * clean + math.sqrt(1 - share) * torch.randn_like(clean)
                loss = self.compiled[t](inputs, z, clean)
            else:
                features = inputs if self.features is not None else self.encoder(t)(inputs)
                loss = self.block_loss(t, features, labels)
        self.optimizers[t].zero_grad()
        loss.backward()
        self.optimizers[t].step()
        self.read(loss)

    def read(self, loss):
        """Reads a loss, on the CPU only: a GPU would have to wait for it in every step."""
        if self.device.type == "cpu":
            loss.item()

    def step_all(self):
        inputs, labels = self.batch()
        if self.kind == "shared":
            features = self.encoders[0](inputs)
            losses = [self.block_loss(t, features, labels) for t in range(self.steps)]
            self.optimizers[0].zero_grad()
            sum(losses).backward()
            self.optimizers[0].step()
            for loss in losses:
                self.read(loss)
        elif self.way == "vmap":
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                self.step_stacked(inputs, labels)
        else:
            for t in range(self.steps):
                self.step_block(t, inputs, labels)
        clean = F.one_hot(labels, self.classes).float()
        share = alpha_bar(self.steps, self.steps)
        z = math.sqrt(share) * clean + math.sqrt(1 - share) * torch.randn_like(clean)
        loss = F.cross_entropy(self.readout(z), labels)
        self.readout_optimizer.zero_grad()
        loss.backward()
        self.readout_optimizer.step()

    def mode(self, training):
        for module in [*self.encoders, *self.heads, self.readout]:
            module.train(training)
        if self.kind == "frozen":
            self.encoders[0].eval()

    def logits(self):
        self.mode(False)
        with torch.inference_mode():
            images = self.batch_of(self.test[:COMPARED])
            z = torch.tensor([(i * 37 % 101) / 50 - 1 for i in range(COMPARED * self.classes)])
            z = z.view(COMPARED, self.classes).to(self.device)
            return [
                self.heads[t](self.encoder(t)(images), z).flatten().tolist() for t in range(self.steps)
            ]

    def evaluate(self):
        self.mode(False)
        with torch.inference_mode():
            for images, labels in zip(self.test.split(500), self.test_labels.split(500)):
                images = self.batch_of(images)
                features = None if self.kind == "per-block" else self.encoders[0](images)
                z = torch.randn(len(images), self.classes, device=self.device)
                for t in range(self.steps):
                    seen = self.encoder(t)(images) if features is None else features
                    guess = F.softmax(self.heads[t](seen, z), 1)
                    (guess.argmax(1) == labels).sum().item()
                    below, above = alpha_bar(t, self.steps), alpha_bar(t + 1, self.steps)
                    alpha = below / above
                    z = (
                        math.sqrt(above) * (1 - alpha) / (1 - below) * guess
                        + math.sqrt(alpha) * (1 - above) / (1 - below) * z
                    )
                (self.readout(z).argmax(1) == labels).sum().item()

    def epoch(self):
        self.order, self.whole_epoch = None, True
        for _ in range(math.ceil(len(self.labels) / BATCH)):
            self.step_all()

    def step(self):
        self.whole_epoch = False
        if self.kind == "shared":
            self.step_all()
        else:
            self.step_block(0, *self.batch())


def times(count, work):
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return {"seconds": seconds}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    peer = None
    for line in sys.stdin:
        request = json.loads(line)
        kind, value = (request, None) if isinstance(request, str) else next(iter(request.items()))
        if kind == "setup":
            peer = Peer(value)
            answer = {"version": torch.__version__}
        elif kind == "peak":
            # KiB on Linux, bytes on macOS.
            unit = 1 if sys.platform == "darwin" else 1024
            answer = {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
        elif kind == "logits":
            answer = {"logits": peer.logits()}
        elif kind == "eval":
            answer = times(1, peer.evaluate)
        else:
            peer.mode(True)
            work = {"step": peer.step, "step-all": peer.step_all, "epoch": peer.epoch}[kind]
            answer = times(value or 1, work)
        print(json.dumps(answer), flush=True)


main()
