"""Any model of transformers as a policy: an adapter says how one kind is run, `TransformersPolicy` does what is the same for all."""
