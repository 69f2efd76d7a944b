"""The file: read, edited by appending, and as the kernel linker takes it."""
