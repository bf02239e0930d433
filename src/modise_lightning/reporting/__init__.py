"""Pictures, tables and files that people read."""
