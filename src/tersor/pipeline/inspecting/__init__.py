"""A model looked at: one weight on its way, every matrix and what its inputs are like."""
