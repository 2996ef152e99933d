"""Documentation and code say the same, in both directions."""
