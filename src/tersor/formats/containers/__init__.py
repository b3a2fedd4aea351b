"""What artifacts lie in: directories or files, written, opened and published."""
