"""Convolutions of flat square frames: pixel by pixel, any leading axes, frames that do not fit."""

import pytest
import torch
from torch import nn

from tutorial_dssm.networks.convolutions import CHANNELS, Convolutions, TransposedConvolutions
from tutorial_dssm.networks.frames import frame_decoder, frame_encoder


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_a_convolution_looks_at_rows_and_columns_of_the_frame():
    """First and last layer, pixel by pixel, from the definition; and the layers in between are as
    many as they should be.
    """
    x, encoder, decoder = (
        normal(3, 2, 32 * 32),
        Convolutions(32 * 32, nn.SiLU).double(),
        TransposedConvolutions(32 * 32).double(),
    )
    first = encoder.layers[0](x.reshape(-1, 1, 32, 32))
    image = nn.functional.pad(x[1, 1].reshape(32, 32), (1, 1, 1, 1))
    for c, i, j in ((0, 0, 0), (7, 3, 12), (31, 15, 15)):
        expected = (
            encoder.layers[0].weight[c, 0] * image[2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
        ).sum() + encoder.layers[0].bias[c]
        assert torch.isclose(first[3, c, i, j], expected)
    assert torch.equal(encoder(x)[1, 1], encoder.layers(x[1, 1].reshape(1, 1, 32, 32)).flatten())
    features = normal(3, 2, 1024)
    frame = decoder(features)[2, 0].reshape(32, 32)
    inner = decoder.layers[:-1](features[2, 0].reshape(1, 256, 2, 2))[0]
    last, spread = decoder.layers[-1], torch.zeros(34, 34, dtype=torch.float64)
    for i in range(16):
        for j in range(16):  # every value of the layer before lays its kernel down
            spread[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += (
                (inner[:, i, j, None, None] * last.weight[:, 0]).sum(0).detach()
            )
    assert torch.allclose(frame, spread[1:-1, 1:-1] + last.bias, atol=1e-12)
    assert (
        [m.out_channels for m in encoder.layers if isinstance(m, nn.Conv2d)]
        == list(CHANNELS)
        == [32, 64, 128, 256]
    )
    assert [m.in_channels for m in decoder.layers if isinstance(m, nn.ConvTranspose2d)] == [
        256,
        128,
        64,
        32,
    ]


@pytest.mark.parametrize("axes", [(), (3,), (3, 2), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("x_dim", [16 * 16, 64 * 64])
def test_encoder_and_decoder_take_any_leading_axes(axes, dtype, x_dim):
    encoder, decoder = (
        frame_encoder("conv", x_dim, 8, "silu").to(dtype),
        frame_decoder("conv", 3, 8, x_dim).to(dtype),
    )
    x, z = normal(*axes, x_dim, dtype=dtype), normal(*axes, 3, dtype=dtype)
    features, frames = encoder(x), decoder(z)
    assert (
        features.shape == (*axes, 8)
        and frames.shape == (*axes, x_dim)
        and features.dtype == frames.dtype == dtype
    )
    flat = encoder(x.reshape(-1, x_dim)), decoder(z.reshape(-1, 3))
    assert torch.equal(features, flat[0].reshape(features.shape)) and torch.equal(
        frames, flat[1].reshape(frames.shape)
    )
    *body, last = encoder
    assert isinstance(last, nn.Linear) and torch.equal(last(nn.Sequential(*body)(x)), features), (
        "linear at its end, as the perceptron"
    )


@pytest.mark.parametrize("x_dim", [0, 36, 250, 257, 24 * 24, 64 * 32])
def test_frames_that_do_not_fit_the_convolutions(x_dim):
    for make in (
        lambda: frame_encoder("conv", x_dim, 8, "silu"),
        lambda: frame_decoder("conv", 2, 8, x_dim),
    ):
        with pytest.raises(ValueError, match=f"multiple of 16 .* got x_dim = {x_dim}$"):
            make()


def test_unknown_networks():
    for make in (
        lambda: frame_encoder("cnn", 256, 8, "silu"),
        lambda: frame_decoder("cnn", 2, 8, 256),
    ):
        with pytest.raises(ValueError, match="unknown network 'cnn'; did you mean 'conv'"):
            make()
    with pytest.raises(ValueError, match="unknown activation 'rely'; did you mean 'relu'"):
        frame_encoder("conv", 256, 8, "rely")
