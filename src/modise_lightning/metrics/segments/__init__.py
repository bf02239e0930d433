"""The segments of one image beside each other: overlap, matching, rules of a hit, borders."""
