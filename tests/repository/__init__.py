"""Rules for the repository itself: imports, sizes of files, shipped modules, locked packages."""
