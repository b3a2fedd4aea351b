"""The bytes of a header."""
