"""Tasks: what a policy sees, what it may do and what it earns; one package each."""
