"""The benchmark: each row of the speed promises (P1 to P9), measured in one run as a ratio to the floor.

`python -m tests.bench --help` tells how; `docs/performance.md` holds what came out. No test asserts a time.
"""
