"""The machine: its instructions, cores and memory."""
