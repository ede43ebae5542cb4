"""What a run found, for people: scores, pictures, a page and files for other programs."""
