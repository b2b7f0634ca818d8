from __future__ import annotations

import pytest
import torch
from monai.networks.nets import VQVAE, AutoencoderKL

from medgen.data import BatchLoader
from medgen.networks import IdentityCodec, KLCodec, VQCodec
from medgen.randomness import generator


def kl_codec(dims=2, channels=(4, 8, 8), image_channels=1, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoencoderKL(
            dims, image_channels, image_channels, 1, channels, (False,) * len(channels), 3, norm_num_groups=4,
            with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
        )  # fmt: skip
    return KLCodec(network)


def vq_codec(dims=2, seed=0, **changes):
    arguments = {"channels": (4, 8), "num_res_layers": 1, "num_res_channels": (4, 8), "num_embeddings": 8}
    arguments |= {"embedding_dim": 3, "downsample_parameters": (2, 4, 1, 1), "upsample_parameters": (2, 4, 1, 1, 0)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VQCodec(VQVAE(dims, 1, 1, **(arguments | changes)))


MADE = {"kl": kl_codec, "vq": vq_codec}


class Images:
    """Images of unequal brightness, read item by item."""

    def __init__(self, count=10, size=(8, 12)):
        brightness = torch.linspace(-0.9, 0.9, count).reshape(-1, 1, *[1] * len(size))
        self.images = (0.3 * torch.randn(count, 1, *size, generator=generator("images")) + brightness).clamp(-1, 1)
        self.covariates = torch.zeros(count, 0)
        self.subjects = [f"person-{i}" for i in range(count)]

    def __len__(self):
        return len(self.images)


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("size", [(8, 12), (8, 4, 12)])
def test_latents_over_the_training_set_have_mean_0_and_variance_1(kind, size):
    codec, data = MADE[kind](len(size)), Images(size=size)
    codec.measure(BatchLoader(data, 4, shuffle=False))
    mean, std = codec.moments(data.images)
    assert mean.shape[1:] == codec.latent_shape((1, *size)) == (3, *(side // 4 for side in size))
    along = [0, *range(2, mean.ndim)]
    # the law of total variance: of the drawn latents, exactly, not of one draw
    variance = mean.double().square().mean(along) + std.double().square().mean(along)
    torch.testing.assert_close(mean.double().mean(along), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(variance, torch.ones(3).double(), atol=1e-5, rtol=0)
    assert not torch.allclose(codec.shift, torch.zeros(3))


@pytest.mark.parametrize("kind", MADE)
def test_decoding_undoes_the_standardisation(kind):
    codec, data = MADE[kind](), Images()
    plain = codec.decode(codec.encode(data.images))  # shift 0, scale 1
    codec.measure(BatchLoader(data, 3, shuffle=False))
    latent = codec.encode(data.images)
    torch.testing.assert_close(codec.decode(latent), plain, atol=1e-5, rtol=1e-5)
    assert plain.shape == data.images.shape
    assert codec.image_shape(tuple(latent.shape[1:])) == (1, 8, 12)


def test_what_the_process_sees_is_not_quantised_and_what_is_decoded_is():
    codec = vq_codec()
    codec.freeze()
    images = Images().images
    latent = codec.encode(images)
    torch.testing.assert_close(latent, codec.autoencoder.encode(images))
    quantised, _ = codec.autoencoder.quantize(latent)
    assert not torch.allclose(latent, quantised)
    torch.testing.assert_close(codec.decode(latent), codec.autoencoder.decode(quantised))
    torch.testing.assert_close(codec.decode(quantised), codec.decode(latent))


def test_latents_are_drawn_from_the_posterior_by_a_generator_alone():
    codec, images = kl_codec(), Images(200, (4, 4)).images
    torch.nn.init.constant_(codec.autoencoder.quant_conv_log_sigma.conv.bias, -1.0)
    mean, std = codec.moments(images)
    assert torch.equal(codec.encode(images), mean)
    state = torch.get_rng_state()
    one, same, other = (codec.encode(images, generator("z", key)) for key in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    noise = (one - mean) / std
    assert float(noise.mean()) == pytest.approx(0, abs=0.15)
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    drawn = vq_codec()
    assert torch.equal(drawn.encode(images, generator("z")), drawn.encode(images))


def test_a_codec_is_frozen_in_float32_whatever_is_around_it():
    codec, images = kl_codec(), Images().images
    expected = codec.encode(images)
    codec.autoencoder.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = codec.encode(images)
        image = codec.decode(found)
    assert found.dtype == image.dtype == torch.float32
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert codec.autoencoder.training  # who trains it sets its mode
    codec.freeze()
    codec.train()
    assert not codec.autoencoder.training
    assert not any(parameter.requires_grad for parameter in codec.parameters())


def test_the_codebook_does_not_move():
    codec = vq_codec()
    codec.autoencoder.train()
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    codec.decode(codec.encode(Images().images))
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())


@pytest.mark.parametrize("kind", MADE)
def test_sides_that_would_not_come_back_are_refused_with_those_that_would(kind):
    codec = MADE[kind]()
    with pytest.raises(ValueError, match="45 comes back as 44; choose an image_size of 44 or 48"):
        codec.latent_shape((1, 48, 45))
    with pytest.raises(ValueError, match="takes images of 1 channels, found 2"):
        codec.encode(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match="works on 1 channels, the codec's latents have 3"):
        codec.check_network(1)


def test_shapes_of_an_unusual_downsampling_are_those_of_the_network():
    codec = vq_codec(
        downsample_parameters=((3, 5, 1, 1), (2, 4, 1, 1)), upsample_parameters=((2, 4, 1, 1, 0), (3, 5, 1, 1, 0))
    )
    side = codec._decoded_side(4)
    latent = codec.encode(torch.zeros(1, 1, side, side))
    assert tuple(latent.shape[1:]) == codec.latent_shape((1, side, side)) == (3, 4, 4)
    assert codec.decode(latent).shape == (1, 1, side, side)


def test_what_cannot_be_measured_is_refused():
    codec = kl_codec()
    with pytest.raises(ValueError, match="found no image"):
        codec.measure([])
    with pytest.raises(ValueError, match="not finite"):
        codec.measure([{"image": torch.full((1, 1, 8, 8), torch.nan)}])
    with pytest.raises(ValueError, match="endless"):
        codec.measure(BatchLoader(Images(), 2))
    with pytest.raises(TypeError, match="expected MONAI's VQVAE, found AutoencoderKL"):
        VQCodec(codec.autoencoder)


def test_a_channel_that_carries_nothing_keeps_its_scale(caplog):
    codec = vq_codec()
    last = codec.autoencoder.encoder.blocks[-1]
    for parameter in last.parameters():
        torch.nn.init.zeros_(parameter)
    codec.measure(BatchLoader(Images(), 4, shuffle=False))
    assert torch.equal(codec.scale, torch.ones(3))
    assert "carry nothing" in caplog.text


def test_the_identity_has_the_same_calls():
    codec, image = IdentityCodec(), torch.zeros(2, 1, 4, 4)
    assert codec.encode(image, generator("z")) is codec.decode(image) is image
    assert codec.latent_shape((1, 4, 4)) == codec.image_shape((1, 4, 4)) == (1, 4, 4)
    mean, std = codec.moments(image)
    assert mean is image
    assert not std.any()
