"""ODISE as its authors published it, by recorded numbers."""
