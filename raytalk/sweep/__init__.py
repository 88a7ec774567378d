"""Search over the settings of meta-learning with Ray Tune: trials, a score that is the same for all, and its answer."""
