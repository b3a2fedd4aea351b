"""How fast a model runs, and how fast it could."""
