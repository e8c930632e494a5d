"""The ``mg`` command and mg-data's own subcommands."""
