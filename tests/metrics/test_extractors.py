"""Feature extractors by name: they take the published files, agree with the published network, and refuse others."""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet10, resnet18

from medgen.files import file_sha256
from medgen.metrics import distance_name, feature_extractor
from medgen.metrics.inception import FIDInception, resize_like_tensorflow
from medgen.metrics.radimagenet import RadImageNetResNet50


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """A file as torch-fidelity's, with random weights that let signals through."""
    torch.manual_seed(0)
    network = FIDInception()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.weight.data.uniform_(0.8, 1.6)
            module.bias.data.normal_(0, 0.2)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_inception_has_the_published_parameters():
    network = FIDInception()
    # as counted in pytorch-fid's and torch-fidelity's network, whose last layer has 1,008 classes
    assert sum(p.numel() for p in network.parameters()) == 23_850_960
    state = network.state_dict()
    assert len(state) == 566
    assert state["Mixed_7b.branch3x3dbl_3a.conv.weight"].shape == (384, 384, 1, 3)
    assert state["Mixed_6b.branch7x7dbl_5.bn.running_var"].shape == (192,)


def test_inception_agrees_with_torch_fidelity(inception_file, monkeypatch):
    found = importlib.util.find_spec("torch_fidelity")
    folders = [Path(sys.prefix) / "reference" / "torch_fidelity", *(found.submodule_search_locations if found else [])]
    here = [str(folder) for folder in folders if Path(folder).is_dir()]
    if not here:
        where = f"pip install --no-deps --target {sys.prefix}/reference torch-fidelity, as `make install` does"
        pytest.skip(f"torch-fidelity is not installed ({where})")
    # its package wants torchvision; the file of the network does not
    package = types.ModuleType("torch_fidelity")
    package.__path__ = here
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    reference = module.FeatureExtractorInceptionV3(
        "x", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file)
    )
    images = torch.randint(0, 256, (2, 3, 64, 50), dtype=torch.uint8)
    extractor = feature_extractor("inception", inception_file)
    expected = reference(images)
    for one, other in zip(extractor.network(images.float()), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_inception_features_and_probabilities(inception_file):
    extractor = feature_extractor("inception", inception_file)
    images = torch.rand(2, 1, 24, 20) * 2 - 1
    features, p = extractor.features(images), extractor.probabilities(images)
    assert features.shape == (2, 2048)
    assert p.shape == (2, 1008)
    np.testing.assert_allclose(p.sum(1), 1)
    assert extractor.described() == {"name": "inception", "sha256": file_sha256(inception_file)}
    # grey is red, green and blue alike
    np.testing.assert_allclose(extractor.features(images.expand(-1, 3, -1, -1)), features, rtol=1e-5, atol=1e-6)
    volume = torch.rand(1, 1, 12, 10, 8) * 2 - 1
    assert extractor.features(volume).shape == (1, 3 * 2048)
    np.testing.assert_allclose(
        extractor.features(volume)[:, 2048:4096], extractor.features(volume[:, :, :, 5]), rtol=1e-5, atol=1e-6
    )
    assert extractor.probabilities(volume) is None


def test_images_are_resized_as_tensorflow_did():
    line = torch.tensor([0.0, 3.0, 6.0])[None, None, None].expand(1, 1, 3, 3)
    # pixel i of 6 lies at i / 2; beyond the last pixel nothing changes
    torch.testing.assert_close(resize_like_tensorflow(line, 6)[0, 0, 0], torch.tensor([0, 1.5, 3, 4.5, 6, 6]))
    picture = torch.rand(1, 2, 5, 7)
    torch.testing.assert_close(resize_like_tensorflow(picture[..., :5], 5), picture[..., :5])


def test_radimagenet_takes_its_file(tmp_path):
    network = RadImageNetResNet50()
    assert sum(p.numel() for p in network.parameters()) == 23_508_032 + 26_560  # torchvision's, and biases
    torch.save({k: v for k, v in network.state_dict().items() if "num_batches" not in k}, tmp_path / "rad.pth")
    extractor = feature_extractor("radimagenet", tmp_path / "rad.pth")
    assert extractor.features(torch.rand(2, 1, 32, 32)).shape == (2, 2048)
    assert extractor.features(torch.rand(1, 1, 16, 16, 16)).shape == (1, 6144)


@pytest.mark.parametrize(("make", "plain"), [(resnet10, False), (resnet18, True)])
def test_medicalnet_takes_its_files(make, plain, tmp_path):
    network = make(spatial_dims=3, n_input_channels=1, feed_forward=False, bias_downsample=plain,
                   shortcut_type="A" if plain else "B").eval()  # fmt: skip
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "m.pth")
    extractor = feature_extractor("medicalnet", tmp_path / "m.pth")
    volumes = torch.rand(2, 1, 16, 16, 16)
    standard = (volumes - volumes.mean((1, 2, 3, 4), keepdim=True)) / volumes.std((1, 2, 3, 4), keepdim=True)
    with torch.no_grad():
        np.testing.assert_allclose(extractor.features(volumes), network(standard).numpy(), atol=1e-4)
    np.testing.assert_allclose(extractor.features(3 * volumes - 1), extractor.features(volumes), atol=1e-4)
    with pytest.raises(ValueError, match=r"medicalnet: expected volumes .* found \(2, 1, 16, 16\)"):
        extractor.features(volumes[..., 0])


def test_medicalnet_leaves_out_what_segmented_and_refuses_what_it_does_not_know(tmp_path):
    network = resnet10(spatial_dims=3, n_input_channels=1, feed_forward=False, bias_downsample=False)
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    head = {"module.conv_seg.0.weight": torch.zeros(512, 32, 2, 2, 2), "module.conv_seg.6.weight": torch.zeros(2, 32)}
    torch.save({"state_dict": state | head, "epoch": 7}, tmp_path / "trained.pth")
    torch.save({"state_dict": state}, tmp_path / "published.pth")
    volumes = torch.rand(1, 1, 16, 16, 16)
    found = [feature_extractor("medicalnet", tmp_path / f"{n}.pth").features(volumes) for n in ("trained", "published")]
    np.testing.assert_array_equal(*found)
    torch.save({"state_dict": state | {"module.layer5.0.conv1.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"holds 1 weights that medicalnet has not: layer5\.0\.conv1\.weight"):
        feature_extractor("medicalnet", tmp_path / "other.pth")


def test_pixels_and_names():
    images = torch.rand(2, 1, 4, 4)
    np.testing.assert_allclose(feature_extractor("pixels").features(images), images.reshape(2, 16).numpy())
    assert feature_extractor("in_domain") is None
    names = {name: distance_name(name) for name in ("in_domain", "inception", "radimagenet", "medicalnet", "pixels")}
    assert [name for name, said in names.items() if "FID" in said] == ["inception"]
    assert distance_name("inception", 3) == "FID (middle slices)"


def test_refuses(tmp_path):
    with pytest.raises(ValueError, match=r"found 'inceptoin' .nearest: 'inception'"):
        feature_extractor("inceptoin")
    with pytest.raises(ValueError, match="but pixels takes none"):
        feature_extractor("pixels", tmp_path / "x.pth")
    with pytest.raises(FileNotFoundError, match="weights of radimagenet, found None; medgen downloads none"):
        feature_extractor("radimagenet")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"does not hold the weights of inception: \d{3} of 566 are missing"):
        feature_extractor("inception", tmp_path / "other.pth")
