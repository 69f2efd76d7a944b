"""A module's own world switch on machines that kpatch did not write: QEMU and Bochs."""
