"""Many clients at once, held to a model."""
