"""iMiGUE as the MiGA challenge ships it: importer.py (the tree), files.py and xlsx_numbers.py (its files)."""
