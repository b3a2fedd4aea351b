"""Results that appear complete or not at all."""
