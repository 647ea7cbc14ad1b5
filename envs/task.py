"""What the imitation task asks, and which aids its controller has."""

from dataclasses import dataclass

from envs.feedforward import BalanceGains
from envs.pushes import PushConfig
from envs.recovery import RecoveryConfig
from envs.reward import RewardScales, RewardWeights
from envs.starts import StartConfig
from imdy_jax.skeleton import NUM_JOINTS

ACTION_SIZE = 3 * NUM_JOINTS


@dataclass(frozen=True)
class TaskConfig:
    """The imitation task. All three of the controller's aids off is the plain PD control of the paper."""

    relative_target: bool = True  # the action turns the reference pose; off: it turns the rest pose
    reference_velocity: bool = True  # the damper acts on the velocity error; off: on the velocity
    feedforward: bool = True  # the reference's inverse-dynamics torque is added to the target
    balance: bool = True  # the feed-forward is computed at the state reached and corrects the root; off: precomputed
    gains: BalanceGains = BalanceGains()
    action_scale: float = 0.4  # rad of target rotation per unit of action, relative target
    absolute_action_scale: float = 3.0  # the same without it: the action has to span the joint's whole range
    stray_limit: float = 0.25  # m: training episodes end beyond it
    ahead: tuple[int, ...] = (2, 5, 9, 14)  # control steps after the next one that the policy foresees; PHC: none
    style_steps: int = 0  # control steps that style is judged by (imdy_jax.imitation.amp); 0: it is not
    starts: StartConfig = StartConfig()
    recovery: RecoveryConfig = RecoveryConfig()
    push: PushConfig = PushConfig()
    weights: RewardWeights = RewardWeights()
    scales: RewardScales = RewardScales()

    def __post_init__(self) -> None:
        if self.recovery.on and not self.recovery.near < self.stray_limit:
            raise ValueError(
                f"recovery.near is {self.recovery.near} m with stray_limit {self.stray_limit} m, expected less: who "
                "has just recovered must not have strayed"
            )
