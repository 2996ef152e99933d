"""What makes workloads deploy: events come in, are matched, stored, and become deploys, through one dispatcher."""
