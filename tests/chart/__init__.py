"""The Helm chart: how it renders, what it refuses, and its pod really run."""
