"""The rules for the repository itself: imports, sizes of files, what ships, what is locked."""
