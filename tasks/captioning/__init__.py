"""Image captioning: data, policies, decoding, rewards and evaluation."""
