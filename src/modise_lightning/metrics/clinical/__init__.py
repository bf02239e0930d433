"""What radiologists ask of records: cases, lesions, strata and their result."""
