"""A plugin that loads, and whose model divides by zero."""

from mg_data.contract import ModelOutput, ModelSpec, hookimpl


@hookimpl
def mg_register_models():
    return [
        ModelSpec(
            name="nan-net",
            summary="a network that divides by the spread of a constant",
            factory="nan_model:build",
            modalities=("joint",),
        )
    ]


def build(num_classes, *, input):
    """Build it."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(input.shape[0], num_classes)

        def forward(self, x):
            if x.shape[1:] != torch.Size(input.shape):
                raise ValueError(f"nan-net: found {tuple(x.shape)}")
            feature = x.mean(dim=(2, 3))
            feature = (feature - feature) / (feature - feature).std()
            return ModelOutput(self.head(feature), feature)

    return Network()
