"""The prepared layout: written, indexed, read. Knows neither how it was made nor who loads it."""
