"""The machine that runs a world switch."""
