"""Fields of a ``config.json``, and what parts of a decoder are made of by them."""
