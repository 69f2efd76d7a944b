"""What to change in a module, and how to take it back."""
