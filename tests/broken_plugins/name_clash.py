"""A plugin that takes a name which mg-skeleton has."""

from mg_data.contract import ModelSpec, hookimpl


@hookimpl
def mg_register_models():
    return [
        ModelSpec(
            name="st-gcn",
            summary="somebody else's network of that name",
            factory="name_clash:build",
            modalities=("joint",),
        )
    ]


def build(num_classes, *, input):
    """Never called: the name belongs to nobody while two plugins claim it."""
    raise NotImplementedError
