"""What transformers makes of a checkpoint: its modules, their names and sizes."""
