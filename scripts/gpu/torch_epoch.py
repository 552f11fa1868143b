"""One epoch of ten blocks with encoders of their own (Fig. 6, left) in PyTorch on a GPU: random images of MNIST's size, batch 128.

Three ways: eager, block after block; torch.compile, block after block; and all blocks at once by vmap with CUDA graphs off and on.
Prints seconds an epoch, median of a few, for each way that works here.
"""

import statistics
import time

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state

BLOCKS, BATCH, STEPS, CLASSES = 10, 128, 430, 10


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3), nn.Conv2d(64, 128, 3)
        self.fc, self.norm = nn.Linear(128 * 16, 256), nn.BatchNorm1d(256)
        self.label = nn.ModuleList([nn.Linear(CLASSES, 256), nn.Linear(256, 256), nn.Linear(256, 256)])
        self.label_norm = nn.ModuleList([nn.BatchNorm1d(256) for _ in range(3)])
        self.wide, self.wide_norm = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.narrow, self.narrow_norm = nn.Linear(256, 128), nn.BatchNorm1d(128)
        self.logits = nn.Linear(128, CLASSES)

    def forward(self, x, z):
        drop = lambda v: nn.functional.dropout(v, 0.2, self.training)
        pool = lambda v: nn.functional.max_pool2d(v, 2)
        x = drop(pool(self.conv1(x).relu()))
        x = drop(self.conv2(x).relu())
        x = drop(pool(self.conv3(x).relu()))
        x = self.norm(self.fc(x.flatten(1)))
        h = self.label_norm[0](self.label[0](z)).relu()
        h = h + self.label_norm[2](self.label[2](self.label_norm[1](self.label[1](h)).relu()))
        y = self.wide_norm(self.wide(torch.cat([x, h], 1))).relu()
        return self.logits(self.narrow_norm(self.narrow(y)).relu())


def loss_of(logits, labels):
    return (logits.softmax(1) - nn.functional.one_hot(labels, CLASSES)).square().sum(1).mean()


def timed(step):
    for _ in range(20):
        step()
    torch.cuda.synchronize()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return times


def block_by_block(compiled):
    blocks = [Block().cuda() for _ in range(BLOCKS)]
    forward = [torch.compile(block, mode="reduce-overhead") if compiled else block for block in blocks]
    optimizers = [torch.optim.AdamW(block.parameters(), 1e-3, fused=True) for block in blocks]
    x = torch.rand(BATCH, 1, 28, 28, device="cuda")
    labels = torch.randint(CLASSES, (BATCH,), device="cuda")

    def step():
        for block, optimizer in zip(forward, optimizers):
            z = torch.randn(BATCH, CLASSES, device="cuda")
            optimizer.zero_grad(set_to_none=True)
            loss_of(block(x, z), labels).backward()
            optimizer.step()

    return timed(step)


def at_once():
    blocks = [Block().cuda() for _ in range(BLOCKS)]
    # vmap cannot follow running statistics.
    for block in blocks:
        for module in block.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
    parameters, buffers = stack_module_state(blocks)
    template = Block().to("meta")
    for module in template.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    optimizer = torch.optim.AdamW(parameters.values(), 1e-3, fused=True)
    x = torch.rand(BATCH, 1, 28, 28, device="cuda")
    labels = torch.randint(CLASSES, (BATCH,), device="cuda")

    def loss(parameters, buffers, z):
        return loss_of(functional_call(template, (parameters, buffers), (x, z)), labels)

    gradients = torch.vmap(grad_and_value(loss), randomness="different")

    def step():
        z = torch.randn(BLOCKS, BATCH, CLASSES, device="cuda")
        found, _ = gradients(parameters, buffers, z)
        for name, parameter in parameters.items():
            parameter.grad = found[name]
        optimizer.step()

    return timed(step)


print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}")
for precision in ["f32", "tf32", "bf16"]:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    for name, way in [
        ("eager, block by block", lambda: block_by_block(False)),
        ("torch.compile with CUDA graphs, block by block", lambda: block_by_block(True)),
        ("vmap over blocks", at_once),
    ]:
        try:
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
                times = way()
            print(f"{precision} {name}: {statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f}, n = {len(times)})")
        except Exception as error:  # a way that this version does not know
            print(f"{precision} {name}: failed: {str(error).splitlines()[0]}")
