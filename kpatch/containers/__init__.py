"""What a module may be wrapped in: compressed files and packages."""
