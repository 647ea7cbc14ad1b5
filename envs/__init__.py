"""The simulated world: physics engines and the imitation task in them."""
