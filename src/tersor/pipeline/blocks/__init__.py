"""The block-by-block loop: what happens to one block while the text runs through it."""
