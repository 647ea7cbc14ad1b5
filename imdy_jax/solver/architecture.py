"""What the solver's network is made of."""

import dataclasses
from typing import Any, Literal

from imdy_jax.solver.representation import REPRESENTATIONS, Name
from imdy_jax.solver.segments import FREE

Attended = Literal["markers", "time", "both"]
Size = Literal["given", "x10"]
SIZES: dict[Size, dict[str, Any]] = {"given": {}, "x10": {"width": 192, "layers": 4, "heads": 6, "hidden": 384}}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What the network is made of; the defaults are the paper's."""

    representation: Name = "markers"  # of the motion: markers, joints, joints with rotations, or with inertia too
    window: int = 2  # w: frames of context before t and after t+1
    width: int = 64  # d, of a token inside the encoder
    layers: int = 3  # of the encoder
    heads: int = 4  # of each attention
    hidden: int = 128  # of the feed-forward block
    attention: Attended = "markers"  # over the points, over the frames of each point, or over those and then these
    contact: bool = False  # tell whether each segment bears load; forces are multiplied by the probability
    spread: bool = False  # tell how far off each estimate may be

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected one or more; correct the model's config")
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}, expected a multiple of heads, {self.heads}; change one of them")

    @property
    def over_time(self) -> "ModelConfig":
        """Of the layers over the frames of a point: half as wide, because there are as many tokens more."""
        heads = self.heads // 2 if self.heads % 2 == 0 else 1
        return dataclasses.replace(self, width=self.width // 2, heads=heads, hidden=self.hidden // 2)

    @property
    def token_size(self) -> int:
        """Numbers in a token: the states of a point in every frame, and the time step; 12w + 13 of a marker."""
        kind = REPRESENTATIONS[self.representation]
        return 4 * kind.coordinates * (self.window + 1) + 2 * FREE * self.window * kind.inertia + 1


def sized(config: ModelConfig, size: Size) -> ModelConfig:
    """The network in another size; "x10" has ten times the parameters."""
    return dataclasses.replace(config, **SIZES[size])
