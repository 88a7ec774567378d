"""What works on a machine or a cluster, what does not, and what to do about it: `python -m raytalk.doctor`.

Each file of checks is plain Python that runs on one machine and returns findings; `nodes` runs them on every node of a
Ray cluster, and `examine` puts everything together.
"""
