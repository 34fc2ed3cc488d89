"""Games of two in one simultaneous move, as a matrix of payoffs: rock-paper-scissors and Colonel Blotto, solved exactly."""
