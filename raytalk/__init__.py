"""Few-shot talking heads as a distributed system on Ray (Zakharov et al., ICCV 2019)."""

__version__ = "0.1.0"
