"""`python -m controller.sample`: tallyd on this machine in one command, with something to look at.

Finds a Docker engine or starts one, fills it with a small sample where it has nothing for tallyd to see, runs the
controller in the foreground, and takes away what it brought. It may never touch a container that it did not start.
"""
