"""Tables of a whole folder's predictions: a row a lesion, a row a breast, and COCO's JSON."""
