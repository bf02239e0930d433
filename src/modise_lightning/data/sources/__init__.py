"""One folder a source of images: what only it knows. Sources do not know each other."""
