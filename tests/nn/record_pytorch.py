"""Record what PyTorch computes, so that the tests can compare with it where it is not installed.

    python tests/nn/record_pytorch.py

needs torch 2.13 (CPU, see benchmarks/requirements.txt) and writes one small file a family to tests/nn/recorded/. It is
run by hand, when a case is added. Every case is an entry of a table below and has a seed of its own, so that a new one
leaves the others as they were. Everything is float64 and in PyTorch's layouts (NCHW, OIHW); the tests know ours.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler

torch.set_default_dtype(torch.float64)  # some optimizers keep numbers of their own in the default type

RECORDED = Path(__file__).parent / "recorded"
Arrays = dict[str, np.ndarray]

ACTIVATIONS = {
    "linear": torch.nn.Identity(),
    "relu": torch.nn.ReLU(),
    "leaky_relu": torch.nn.LeakyReLU(),
    "elu": torch.nn.ELU(),
    "selu": torch.nn.SELU(),
    "softplus": torch.nn.Softplus(threshold=1e9),  # the exact function at every size
    "tanh": torch.nn.Tanh(),
    "sigmoid": torch.nn.Sigmoid(),
    "softmax": torch.nn.Softmax(-1),
    "gelu": torch.nn.GELU(),
    "silu": torch.nn.SiLU(),
}

LAYERS = {
    "conv2d": (torch.nn.Conv2d(2, 3, 3), (4, 2, 6, 7)),
    "conv2d stride 2": (torch.nn.Conv2d(2, 3, 3, stride=2), (4, 2, 7, 8)),
    "conv2d padding 2": (torch.nn.Conv2d(2, 3, 3, padding=2), (4, 2, 4, 5)),
    "conv2d dilation 2": (torch.nn.Conv2d(2, 3, 3, dilation=2), (4, 2, 7, 6)),
    "conv2d all at once": (torch.nn.Conv2d(3, 4, 2, stride=3, padding=1, dilation=2, bias=False), (2, 3, 9, 8)),
    "conv2d same": (torch.nn.Conv2d(2, 3, 3, padding="same"), (4, 2, 5, 4)),
    "conv2d same, even size": (torch.nn.Conv2d(2, 3, 2, padding="same"), (4, 2, 5, 4)),
    "conv1d": (torch.nn.Conv1d(3, 4, 3), (5, 3, 9)),
    "conv1d all at once": (torch.nn.Conv1d(3, 4, 3, stride=2, padding=3, dilation=2), (5, 3, 9)),
    "max_pool": (torch.nn.MaxPool2d(2), (3, 2, 6, 8)),
    "max_pool stride 1, padding 1": (torch.nn.MaxPool2d(3, stride=1, padding=1), (3, 2, 5, 6)),
    "max_pool of sequences": (torch.nn.MaxPool1d(3, stride=2), (3, 2, 9)),
    "average_pool": (torch.nn.AvgPool2d(2), (3, 2, 6, 8)),
    "average_pool padding 1": (torch.nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (3, 2, 5, 6)),
    "average_pool of sequences": (torch.nn.AvgPool1d(3, stride=2), (3, 2, 9)),
    "global_average_pool": (torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), (3, 4, 5, 6)),
    "batch_norm": (torch.nn.BatchNorm1d(4), (6, 4)),
    "batch_norm of images": (torch.nn.BatchNorm2d(3), (4, 3, 5, 2)),
    "batch_norm in evaluation": (torch.nn.BatchNorm2d(3).eval(), (4, 3, 5, 2)),
    "layer_norm": (torch.nn.LayerNorm(6), (5, 6)),
    "layer_norm of sequences": (torch.nn.LayerNorm(6), (2, 5, 6)),
    "embedding": (torch.nn.Embedding(7, 3), (4, 5)),
}

# The loss of each sample, and what its targets are.
LOSSES: dict[str, tuple[Callable[..., torch.Tensor], str]] = {
    "cross_entropy": (lambda z, t: F.cross_entropy(z, t, reduction="none"), "classes"),
    "cross_entropy smoothed": (lambda z, t: F.cross_entropy(z, t, reduction="none", label_smoothing=0.1), "classes"),
    "binary_cross_entropy": (
        lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none").mean(-1),
        "binary",
    ),
    "mse": (lambda z, t: F.mse_loss(z, t, reduction="none").mean(-1), "numbers"),
    "quadratic": (lambda z, t: F.mse_loss(z, t, reduction="none").sum(-1) / 2, "numbers"),
    "mae": (lambda z, t: F.l1_loss(z, t, reduction="none").mean(-1), "numbers"),
    "huber": (lambda z, t: F.huber_loss(z, t, reduction="none").mean(-1), "numbers"),
    "huber delta 0.3": (lambda z, t: F.huber_loss(z, t, reduction="none", delta=0.3).mean(-1), "numbers"),
    "hinge": (lambda z, t: F.multi_margin_loss(z, t, reduction="none"), "classes"),
    "hinge margin 2.5": (lambda z, t: F.multi_margin_loss(z, t, reduction="none", margin=2.5), "classes"),
}

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad(p),
    "rmsprop": lambda p: torch.optim.RMSprop(p),
    "rmsprop with momentum": lambda p: torch.optim.RMSprop(p, 0.02, alpha=0.9, momentum=0.8),
    "adam": lambda p: torch.optim.Adam(p),
    "adam with a large epsilon": lambda p: torch.optim.Adam(p, 0.1, betas=(0.8, 0.95), eps=0.01),
    "adamw": lambda p: torch.optim.AdamW(p),
    "adamw that decays fast": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.5),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.05, amsgrad=True),
    "nadam": lambda p: torch.optim.NAdam(p),
    "nadam that hurries": lambda p: torch.optim.NAdam(p, 0.05, momentum_decay=0.3),
}

# Of an optimizer with the learning rate 1, and for how many steps.
SCHEDULES = {
    "constant": (lambda o: lr_scheduler.ConstantLR(o, factor=1), 5),
    "step": (lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5), 20),
    "exponential": (lambda o: lr_scheduler.ExponentialLR(o, 0.95), 20),
    "polynomial": (lambda o: lr_scheduler.PolynomialLR(o, 40, power=2), 40),
    "cosine": (lambda o: lr_scheduler.CosineAnnealingLR(o, 50, eta_min=0.1), 50),
    "cosine with restarts": (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, T_mult=2), 70),
    "one_cycle": (lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=100), 100),
    "cosine, warmed": (
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.2, total_iters=4), lr_scheduler.CosineAnnealingLR(o, 30)], [5]
        ),
        35,
    ),
}


def seeded(name: str) -> None:
    torch.manual_seed(zlib.crc32(name.encode()))


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    """The module with parameters that no initializer would give, and running variances above 0."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            draw = torch.rand if "var" in name else torch.randn
            tensor.data = draw(tensor.shape) + ("var" in name) / 2
    return module


def copies(prefix: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> Arrays:
    found = {f"{prefix}.{name}": tensor.detach().numpy().copy() for name, tensor in tensors}
    return {name: array for name, array in found.items() if array.dtype == np.float64}


def passed(module: torch.nn.Module, x: torch.Tensor) -> Arrays:
    """What goes in and comes out, forward and backward; the parameters, and the running values before and after."""
    arrays = {"x": x.numpy().copy(), **copies("before", module.state_dict().items())}
    x.requires_grad_(x.is_floating_point())
    y = module(x)
    dy = torch.randn(y.shape)
    y.backward(dy)
    arrays |= {"y": y.detach().numpy(), "dy": dy.numpy(), **copies("after", module.named_buffers())}
    arrays |= {} if x.grad is None else {"dx": x.grad.numpy()}
    return arrays | copies("gradient", [(name, value.grad) for name, value in module.named_parameters()])


def activation(name: str) -> Arrays:
    """Two dense layers, each followed by the activation."""
    function = ACTIVATIONS[name]
    module = torch.nn.Sequential(torch.nn.Linear(5, 6), function, torch.nn.Linear(6, 4), function)
    return passed(drawn(module), torch.randn(7, 5))


def layer(name: str) -> Arrays:
    module, shape = LAYERS[name]
    if isinstance(module, torch.nn.Embedding):
        return passed(drawn(module), torch.randint(0, module.num_embeddings, shape))
    return passed(drawn(module), torch.randn(shape))


def loss(name: str) -> Arrays:
    """The mean over the batch and the weighted mean, each with its gradient."""
    function, kind = LOSSES[name]
    batch, width = 8, 5
    outputs = 2 * torch.randn(batch, width)
    targets = {
        "classes": torch.randint(0, width, (batch,)),
        "binary": torch.randint(0, 2, (batch, width)).double(),
        "numbers": torch.randn(batch, width),
    }[kind]
    weights = torch.rand(batch) * 3
    arrays = {"outputs": outputs.numpy().copy(), "targets": targets.numpy(), "weights": weights.numpy()}
    for prefix, shares in (("", torch.full((batch,), 1 / batch)), ("weighted.", weights / weights.sum())):
        leaf = outputs.clone().requires_grad_()
        value = (function(leaf, targets) * shares).sum()
        value.backward()
        arrays |= {f"{prefix}value": value.detach().numpy(), f"{prefix}gradient": leaf.grad.numpy()}
    return arrays


def optimizer(name: str) -> Arrays:
    """The parameters after each of ten steps along gradients that were drawn beforehand."""
    parameters, gradients = torch.randn(6), torch.randn(10, 6)
    arrays = {"start": parameters.numpy().copy(), "gradients": gradients.numpy()}
    made, places = OPTIMIZERS[name]([parameters.requires_grad_()]), []
    for gradient in gradients:
        parameters.grad = gradient
        made.step()
        places.append(parameters.detach().numpy().copy())
    return arrays | {"places": np.array(places)}


def schedule(name: str) -> Arrays:
    make, steps = SCHEDULES[name]
    stepped = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    scheduler, rates = make(stepped), []
    for _ in range(steps):
        rates.append(stepped.param_groups[0]["lr"])
        stepped.step()
        scheduler.step()
    return {"factors": np.array(rates)}


def plateau(name: str) -> Arrays:
    """The learning rate after each of the values; PyTorch waits for one epoch more than its patience."""
    stepped = torch.optim.SGD([torch.zeros(1)], 1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(
        stepped, "min", factor=0.5, patience=2, threshold=0.1, threshold_mode="abs", min_lr=0.1
    )
    values, rates = 3 * torch.rand(60) * torch.linspace(1, 0.2, 60), []
    for value in values.tolist():
        scheduler.step(value)
        rates.append(stepped.param_groups[0]["lr"])
    return {"values": values.numpy(), "scales": np.array(rates)}


FAMILIES = {
    "activations": (activation, ACTIVATIONS),
    "layers": (layer, LAYERS),
    "losses": (loss, LOSSES),
    "optimizers": (optimizer, OPTIMIZERS),
    "schedules": (schedule, SCHEDULES),
    "plateaus": (plateau, ("reduce_on_plateau",)),
}


def main() -> None:
    RECORDED.mkdir(exist_ok=True)
    for family, (record, names) in FAMILIES.items():
        arrays: Arrays = {}
        for name in names:
            seeded(name)
            arrays |= {f"{name}/{key}": array for key, array in record(name).items()}
        path = RECORDED / f"{family}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {len(names)} cases, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
