"""Host kernels as data: which one a module is for, and what it carries already."""
