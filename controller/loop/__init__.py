"""One tick, a file per stage: observe → dispatch → compare → (write) → converge; `tick` is the line between them."""
