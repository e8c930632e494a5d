"""Small heads over stored features: ``linear-probe`` and ``mlp-probe``. They train in seconds on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput, UsageError


class Probe(nn.Module):
    """Standardisation, hidden layers, classifier: (N, D) -> logits (N, K) and the classifier's input (N, d).

    Args:
        dim: D. hidden: widths of the hidden layers, none for a linear probe.
        dropout: before the classifier and between hidden layers; the returned feature has none.
        standardise: bring every number to mean 0 and spread 1 over the training clips (a BatchNorm without
            parameters, as linear probes of frozen backbones have it), so that one learning rate suits
            features of any size.
    """

    def __init__(
        self, dim: int, num_classes: int, *, hidden: Sequence[int], dropout: float, standardise: bool
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise UsageError(f"probe: num_classes is {num_classes}, wanted at least 1")
        if any(width < 1 for width in hidden):
            raise UsageError(f"probe: hidden is {list(hidden)}, wanted positive widths")
        if not 0 <= dropout < 1:
            raise UsageError(f"probe: dropout is {dropout}, wanted 0 up to 1")
        self.dim = dim
        self.standardise: nn.Module = nn.BatchNorm1d(dim, affine=False) if standardise else nn.Identity()
        layers: list[nn.Module] = []
        for before, width in zip((dim, *hidden), hidden):
            layers += [nn.Dropout(dropout)] if layers else []
            layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.GELU()]
        self.hidden = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden[-1] if hidden else dim, num_classes)
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, vectors: Tensor) -> ModelOutput:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ValueError(f"batch has shape {tuple(vectors.shape)}, wanted (N, {self.dim})")
        feature = self.hidden(self.standardise(vectors.float()))  # (N, d)
        return ModelOutput(logits=self.head(self.dropout(feature)), feature=feature)


def _dim(input: InputSpec, model: str) -> int:
    if input.kind != "features" or len(input.shape) != 1:
        raise UsageError(
            f"model {model}: the modality gives {input.kind} of shape {tuple(input.shape)}, wanted features "
            "(D,): write a features store with 'mg predict --features' and give it as the data"
        )
    return int(input.shape[0])


def linear_probe(
    num_classes: int, *, input: InputSpec, standardise: bool = True, dropout: float = 0.0
) -> Probe:
    """Build a linear classifier of features. See :class:`Probe`."""
    dim = _dim(input, "linear-probe")
    return Probe(dim, num_classes, hidden=(), dropout=dropout, standardise=standardise)


def mlp_probe(
    num_classes: int,
    *,
    input: InputSpec,
    hidden: Sequence[int] = (512,),
    standardise: bool = True,
    dropout: float = 0.5,
) -> Probe:
    """Build a perceptron with hidden layers over features. See :class:`Probe`."""
    dim = _dim(input, "mlp-probe")
    return Probe(dim, num_classes, hidden=tuple(hidden), dropout=dropout, standardise=standardise)
