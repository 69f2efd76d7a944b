"""Signatures: assembler with holes, matched on decoded instructions."""
