"""How the tensors of a quantized linear are stored, for the formats that share it."""
