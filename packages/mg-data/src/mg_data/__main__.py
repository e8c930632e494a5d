"""``python -m mg_data`` is the ``mg`` command."""

from mg_data.cli.main import main

main()
