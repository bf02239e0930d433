"""A backbone of four convolutions, chosen by its configuration: the smallest plug-in there is."""
