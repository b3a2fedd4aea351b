"""The tiny model on which a family without a table is looked at."""
