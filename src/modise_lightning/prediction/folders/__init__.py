"""Predicts everything that a user names: the plan, what is finished, and the files of the whole folder."""
