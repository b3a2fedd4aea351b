"""The same codes in another format: nothing is quantized a second time."""
