"""Acting in gymnasium environments: the same trainers, with rewards that arrive step by step."""
