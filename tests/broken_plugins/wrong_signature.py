"""A plugin whose hook takes an argument that the hook does not have."""

from mg_data.contract import hookimpl


@hookimpl
def mg_register_models(registry):
    return []
