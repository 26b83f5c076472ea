"""What compression does to an encoder: how far its vectors turn, and whether their neighbours stay."""

from typing import Any, NamedTuple

from ...errors import need


class EncoderQuality(NamedTuple):
    """What pieces of a text say of two encoders; a piece's vector is the mean over its tokens."""

    num_tokens: int
    num_pieces: int
    cosine: float
    """Of a piece's vectors before and after, the mean over pieces."""
    least_cosine: float
    neighbour_agreement: float
    """Share of pieces whose nearest other piece is the same."""
    layers: tuple[float, ...]
    """Squared error of what each layer gives on, as a share of its square."""

    def to_json(self) -> dict[str, Any]:
        """Return the object under `quality`."""
        return {**self._asdict(), "layers": list(self.layers)}


def of_vectors(first: list[Any], second: list[Any], layers: tuple[float, ...]) -> EncoderQuality:
    """Return the quality of last hidden states beside those of the source; a piece each, 1 x tokens x
    width."""
    before, after = (units(each) for each in (first, second))
    cosines = (before * after).sum(1)
    same = nearest(before) == nearest(after)
    return EncoderQuality(
        sum(each.shape[1] for each in first),
        len(first),
        float(cosines.mean()),
        float(cosines.min()),
        float(same.float().mean()),
        layers,
    )


def units(hidden: list[Any]) -> Any:
    """Return the vectors of all pieces, pieces x width, each of length 1."""
    torch = need("torch", "compress")
    vectors = torch.stack([each[0].float().mean(0) for each in hidden])
    return vectors / vectors.norm(dim=1, keepdim=True)


def nearest(vectors: Any) -> Any:
    """Return the number of the nearest other piece of each."""
    alike = vectors @ vectors.T
    return alike.fill_diagonal_(-2).argmax(1)
