"""Finds the images that a user names, in folders and archives, and reads what they say of themselves."""
