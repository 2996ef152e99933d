"""What the operator declared: workload manifests."""
