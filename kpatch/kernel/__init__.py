"""Host kernels as data, and which of them a module is for."""
