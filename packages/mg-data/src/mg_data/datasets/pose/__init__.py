"""``.pose`` files: header.py (sizes, checked before the library reads), importer.py (clips)."""
