"""ImDyS in PyTorch, the peer of `benchmark.py solver`: written from the paper (Liu et al., ICLR 2025, section 4.2).

PyTorch's own transformer encoder; features and losses of markers as imdy_jax.solver defines them. The network has the
same parameters as ours and, with weights copied, the same outputs.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from imdy_jax.skeleton import NUM_BODIES, NUM_JOINTS
from imdy_jax.solver.features import REFERENCE_FPS
from imdy_jax.solver.fit import FitConfig
from imdy_jax.solver.heads import UNIT
from imdy_jax.solver.loss import SHORTEST
from imdy_jax.solver.model import ModelConfig
from imdy_jax.solver.representation import PELVIS

Prediction = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
_HEADS = {
    "torque_magnitude": (NUM_JOINTS,), "torque_direction": (NUM_JOINTS, 3),
    "force_magnitude": (2, NUM_BODIES), "force_direction": (2, NUM_BODIES, 3),
}  # fmt: skip


class TorchImDyS(nn.Module):
    """Tokens (B, N, F) that are there (B, N) → magnitudes, N·m/kg and N/kg, and directions, in the order of _HEADS."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.token_size))
        self.register_buffer("scale", torch.eye(config.token_size))
        self.embed = nn.Linear(config.token_size, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.hidden, dropout=0.0, batch_first=True, layer_norm_eps=1e-6
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.heads = nn.ModuleDict({name: nn.Linear(config.width, int(np.prod(s))) for name, s in _HEADS.items()})

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> Prediction:
        there = mask[..., None]
        x = self.embed(torch.where(there, (tokens - self.mean) @ self.scale, 0.0))
        x = self.encoder(x, src_key_padding_mask=~mask)
        feature = (x * there).sum(1) / there.sum(1).clamp(min=1)
        told = {name: self.heads[name](feature).reshape(-1, *shape) for name, shape in _HEADS.items()}
        return (
            UNIT * told["torque_magnitude"], told["torque_direction"],
            UNIT * told["force_magnitude"], told["force_direction"],
        )  # fmt: skip


def copy_weights(variables: dict[str, Any], network: TorchImDyS) -> None:
    """Put the variables of imdy_jax's network (model.init) into PyTorch's."""
    params, known = variables["params"], variables["statistics"]["embed"]
    new = {"mean": known["mean"], "scale": known["scale"]}
    new |= _dense("embed", params["embed"]["Dense_0"])
    for name in _HEADS:
        new |= _dense(f"heads.{name}", params[name])
    for i, own in enumerate(network.encoder.layers):
        ours, theirs = params[f"encoder_{i}"], f"encoder.layers.{i}"
        attention = [_dense("", ours["Attention_0"][f"Dense_{k}"]) for k in range(4)]
        for kind in ("weight", "bias"):
            new[f"{theirs}.self_attn.in_proj_{kind}"] = np.concatenate([a[f".{kind}"] for a in attention[:3]])
        new |= _dense(f"{theirs}.self_attn.out_proj", ours["Attention_0"]["Dense_3"])
        for k in range(2):
            new |= _dense(f"{theirs}.linear{k + 1}", ours[f"Dense_{k}"])
            norm = ours[f"LayerNorm_{k}"]
            new |= {f"{theirs}.norm{k + 1}.weight": norm["scale"], f"{theirs}.norm{k + 1}.bias": norm["bias"]}
        assert not own.norm_first
    network.load_state_dict({name: torch.tensor(np.asarray(x)) for name, x in new.items()})


def num_parameters(network: TorchImDyS) -> int:
    """How many numbers there are to learn."""
    return sum(x.numel() for x in network.parameters())


def features(motion: torch.Tensor, dt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens (B, N, F), mask (B, N) and heading angle (B,) of windows of markers (B, 2w+2, N, 3), a missing one NaN."""
    now = motion.shape[1] // 2 - 1
    mask = torch.isfinite(motion).all(3).all(1)
    motion = torch.where(mask[:, None, :, None], motion, 0.0)
    points, (left_front, right_front, left_back, right_back) = motion[:, now], PELVIS
    left = _axis(points, mask, (right_front, right_back), (left_front, left_back))
    forward = _axis(points, mask, (left_back, right_back), (left_front, right_front))
    heading = torch.atan2(left[:, 1] + forward[:, 0], left[:, 0] - forward[:, 1])
    anchors = mask[:, list(PELVIS), None]
    origin = (points[:, list(PELVIS)] * anchors).sum(1) / anchors.sum(1).clamp(min=1)
    origin = origin * origin.new_tensor([1.0, 1.0, 0.0])
    local = turned(motion - origin[:, None, None], -heading)
    ratio = (dt * REFERENCE_FPS)[:, None, None, None]
    velocity = local.diff(dim=1) / dt[:, None, None, None]
    velocity = torch.cat([velocity, velocity[:, -1:]], 1)
    parts = [x[:, [at]] + (x - x[:, [at]]) / ratio for x, at in ((local, now), (velocity, max(now - 1, 0)))]
    flat = torch.cat(parts, -1).transpose(1, 2).flatten(2)
    step = torch.log2(ratio[:, 0]).expand(-1, flat.shape[1], 1)
    return torch.where(mask[..., None], torch.cat([flat, step], -1), 0.0), mask, heading


def turned(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Vectors (B, ..., 3) turned about the vertical by angles (B,)."""
    angle = angle.reshape(-1, *[1] * (x.ndim - 2))
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([cosine * x[..., 0] - sine * x[..., 1], sine * x[..., 0] + cosine * x[..., 1], x[..., 2]], -1)


def batch_loss(network: nn.Module, config: FitConfig, windows: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """L_mag and L_cos, weighted, mean over a batch in the layout of imdy_jax.solver.data.Windows."""
    motion, momentum, force, mass, dt = windows
    tokens, mask, heading = features(motion, dt)
    size, way, load, aim = network(tokens, mask)
    torque = momentum / (mass * dt)[:, None, None]
    force = turned(force, -heading) / mass[:, None, None, None]
    magnitude = (size - torque.norm(dim=-1)).abs().mean() + (load - force.norm(dim=-1)).abs().mean()
    direction = _cosine_distance(way, torque) + _cosine_distance(aim, force)
    return config.weights.magnitude * 100.0 / UNIT * magnitude + config.weights.direction * direction


def estimate(network: nn.Module, motion: torch.Tensor, dt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Torques (B, 23, 3), N·m/kg, child axes, and forces (B, 24, 3), N/kg, world axes, of windows of markers."""
    tokens, mask, heading = features(motion, dt)
    size, way, load, aim = network(tokens, mask)
    return _composed(size, way), turned(_composed(load[:, 0], aim[:, 0]), heading)


def _composed(magnitude: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    length = direction.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()
    return magnitude.clamp(min=0.0)[..., None] * direction / length


def _cosine_distance(direction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of each window the mean of 1 − cos over targets longer than SHORTEST; then the mean over the windows."""
    length = target.norm(dim=-1)
    defined = length > SHORTEST
    norm = direction.square().sum(-1).clamp(min=1e-12).sqrt()
    cosine = (direction * target).sum(-1) / (norm * torch.where(defined, length, 1.0))
    kept = torch.where(defined, 1.0 - cosine, 0.0).flatten(1).sum(1)
    return (kept / defined.flatten(1).sum(1).clamp(min=1)).mean()


def _axis(points: torch.Tensor, mask: torch.Tensor, start: tuple[int, int], end: tuple[int, int]) -> torch.Tensor:
    """Unit vector (B, 3), mean of the start → end pairs of which both markers are there."""
    both = (mask[:, list(start)] & mask[:, list(end)])[..., None]
    mean = torch.where(both, points[:, list(end)] - points[:, list(start)], 0.0).sum(1)
    return mean / mean.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _dense(name: str, layer: dict[str, Any]) -> dict[str, np.ndarray]:
    """PyTorch keeps a layer's weight transposed."""
    return {f"{name}.weight": np.asarray(layer["kernel"]).T, f"{name}.bias": np.asarray(layer["bias"])}
