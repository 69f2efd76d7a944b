"""The command line: options, calls and exit codes. Only this package touches files."""

import gc

# A command makes many small values that live as long as it does, and hardly a cycle. With the
# default threshold of 700 a tenth of the start-up time goes into looking for garbage.
gc.set_threshold(100_000)
