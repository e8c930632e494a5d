"""A plugin that needs a library which is not there."""

import sensor_sdk_of_nobody  # noqa: F401
