"""What Ray Serve runs: thin shells around parts that are plain Python and know nothing of Ray."""
