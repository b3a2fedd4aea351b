"""What surrounds the weights of an artifact, and how it is checked."""
