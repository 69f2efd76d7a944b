"""x86-64 instructions: decoding (Capstone) and assembling (Keystone)."""
