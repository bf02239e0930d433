"""The cross-validation table: runs gathered, compared, laid out and written."""
