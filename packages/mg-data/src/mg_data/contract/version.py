"""Version of the contract: the hooks and records plugins may rely on.

mg-data's major version is the contract's major version; within a major the contract only grows.
"""

CONTRACT_VERSION = "1.1"
PROJECT_NAME = "mg"
ENTRY_POINT_GROUP = "mg.plugins"
