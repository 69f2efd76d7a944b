"""Speed, as figures and ratios. Nothing here can fail for being slow: machines are noisy."""
