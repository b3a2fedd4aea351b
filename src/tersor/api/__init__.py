"""The verbs of tersor as functions; the command line calls these and prints what they return."""
