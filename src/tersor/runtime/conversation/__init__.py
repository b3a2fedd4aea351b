"""What people say to a model, and what it answers."""
