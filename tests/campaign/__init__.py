"""Random trampolines, judged twice: with every reduction, and with none at all."""
