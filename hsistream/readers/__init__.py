"""One reader per file format: from producers' files to the sources that ingest takes."""
