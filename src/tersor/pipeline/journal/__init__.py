"""What a run has finished, kept so that another one goes on with it and ends in the same bytes."""
