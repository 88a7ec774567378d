"""What pictures are measured by, a file for each kind of figure: arrays in, numbers out, without Ray."""
