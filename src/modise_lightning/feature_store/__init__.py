"""Keeps what frozen parts say of an image, so that it is computed once."""
