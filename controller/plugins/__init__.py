"""The plugin door: what a workload is made of (sources) and what makes it deploy (triggers)."""
