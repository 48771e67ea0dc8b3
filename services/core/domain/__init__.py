"""What the product is about, as frozen dataclasses that are valid once constructed.

Constructors raise `InvalidField` with a path relative to themselves; whoever nests them adds the prefix. Nothing here does
input or output.
"""
