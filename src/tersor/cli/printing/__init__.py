"""What people see in a terminal: results, tables, progress, a conversation."""
