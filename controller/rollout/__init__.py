"""How a workload moves from one revision to the next: the deployer contract, splits, and what a router is told."""
