"""Parts that several families have."""
