"""What is to be proven, who does it, and the verdict."""
