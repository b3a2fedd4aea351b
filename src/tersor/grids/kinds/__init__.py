"""The grids, one kind in each file."""
