"""The equations: returns, advantages, losses, targets, shaping, averages; pure functions of tensors."""
