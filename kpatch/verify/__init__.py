"""The proof: every interleaving of a module's own switch on emulated CPUs."""
