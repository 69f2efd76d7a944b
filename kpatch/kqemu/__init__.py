"""What kqemu is: which file is one, and the source fixes that one may carry already."""
