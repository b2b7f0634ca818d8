from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medgen.covariates import Covariates
from medgen.data import BatchAugmentation, BatchLoader, LatentDataset
from medgen.engines.encoding import encode, image_shape
from medgen.networks import IdentityCodec
from medgen.randomness import generator


class Halving(IdentityCodec):
    """A codec of one weight: latents have half the sides, and a spread of a tenth."""

    def __init__(self, gain=2.0):
        super().__init__()
        self.register_buffer("shift", torch.zeros(1))
        self.gain = nn.Parameter(torch.tensor(gain))
        self.calls = 0

    def moments(self, image):
        self.calls += 1
        pool = nn.functional.avg_pool2d if image.ndim == 4 else nn.functional.avg_pool3d
        mean = (self.gain * pool(image, 2)).detach()
        return mean, torch.full_like(mean, 0.1)

    def draw(self, mean, std, source=None):
        return mean if source is None else mean + std * torch.randn(mean.shape, generator=source)

    def image_shape(self, latent_shape):
        return (latent_shape[0], *(2 * side for side in latent_shape[1:]))


class Data:
    pixel_mm = 1.5

    def __init__(self, size=(8, 8), count=5):
        self.images = (torch.rand(count, 1, *size, generator=generator("images")) * 2 - 1).half()
        self.declared = Covariates(diagnosis=["NC", "AD"])
        self.covariates = torch.arange(count).float()[:, None] % 2
        self.subjects = [f"SIM{i:03d}" for i in range(count)]
        self.records = [{"image": f"{name}.nii.gz"} for name in self.subjects]

    def __len__(self):
        return len(self.images)


@pytest.mark.parametrize("size", [(8, 8), (8, 6, 4)])
def test_moments_are_those_of_the_images_and_the_rest_is_the_data_sets(size):
    data, codec = Data(size), Halving()
    latents = LatentDataset(data, codec, batch_size=2, progress=False)
    mean, std = codec.moments(data.images.float())
    torch.testing.assert_close(latents.images.float(), torch.cat((mean, std), dim=1), atol=1e-3, rtol=1e-3)
    assert len(latents) == 5
    assert latents.pixel_mm == 1.5
    assert latents.subjects == data.subjects
    (batch,) = BatchLoader(latents, 5, shuffle=False)
    assert "image" not in batch
    assert batch["filename"] == [record["image"] for record in data.records]
    assert image_shape(codec, batch["moments"], batch) == (1, *size)
    torch.testing.assert_close(encode(codec, batch["moments"], batch), mean, atol=1e-3, rtol=1e-3)
    drawn = encode(codec, batch["moments"], batch, generator("z"))
    assert float((drawn - mean).std()) == pytest.approx(0.1, rel=0.3)
    assert torch.equal(latents[3]["moments"], latents.images[3].float())
    assert copy.copy(latents).pixel_mm == 1.5
    with pytest.raises(AttributeError):
        _ = latents.nothing


def test_copies_are_changed_versions_and_stay_with_their_subjects():
    data, codec = Data(), Halving()
    augment = BatchAugmentation(rotate=20)
    latents = LatentDataset(data, codec, copies=3, augmentation=augment, progress=False)
    plain = LatentDataset(data, codec, progress=False)
    assert latents.images.shape == (15, 2, 4, 4)
    assert torch.equal(latents.images[:5], plain.images)
    parts = latents.images.split(5)
    assert not torch.equal(parts[1], parts[0])
    assert not torch.equal(parts[1], parts[2])
    assert latents.subjects == data.subjects * 3
    assert torch.equal(latents.covariates, data.covariates.repeat(3, 1))
    again = LatentDataset(data, codec, copies=3, augmentation=augment, batch_size=2, progress=False)
    torch.testing.assert_close(again.images, latents.images)
    assert len(BatchLoader(latents, 4, balance="diagnosis")) == 4
    with pytest.raises(ValueError, match="no augmentation that would make them differ"):
        LatentDataset(data, codec, copies=2, progress=False)
    with pytest.raises(ValueError, match="copies >= 1"):
        LatentDataset(data, codec, copies=0)


def test_the_file_is_private_found_again_and_never_of_other_data(tmp_path):
    def made(data=None, gain=2.0, **changes):
        codec = Halving(gain)
        found = LatentDataset(data or Data(), codec, folder=tmp_path, progress=False, **changes)
        return found, codec.calls

    first, calls = made()
    assert calls
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    second, calls = made()
    assert calls == 0
    assert torch.equal(second.images, first.images)
    other = Data()
    other.images[0, 0, 0, 0] += 0.5
    augmented = {"copies": 2, "augmentation": BatchAugmentation()}
    for changes in ({"data": other}, {"gain": 3.0}, augmented, augmented | {"augmentation": BatchAugmentation(seed=1)}):
        assert made(**changes)[1] > 0, changes
    assert len(list(tmp_path.iterdir())) == 5
