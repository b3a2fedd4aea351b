"""The engine: tokens in, tokens out, without torch in the loop."""
