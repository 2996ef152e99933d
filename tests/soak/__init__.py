"""The soak: a real controller, and all that may happen to its containers, at random, for as long as one likes."""
