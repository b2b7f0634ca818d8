from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from medgen.covariates import Covariates, Range
from medgen.networks import ConditionalUNet, load_pretrained, load_weights

OLD = Covariates(diagnosis=["NC", "AD"])
NEW = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"))


def network(covariates: Covariates, seed: int) -> ConditionalUNet:
    torch.manual_seed(seed)
    model = ConditionalUNet(
        2,
        1,
        1,
        channels=(8,),
        attention_levels=(False,),
        norm_num_groups=4,
        num_head_channels=8,
        num_res_blocks=1,
        covariates=covariates,
    )
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def test_an_added_covariate_starts_at_zero_effect_and_can_learn(tmp_path):
    old, new = network(OLD, 0), network(NEW, 1)
    torch.save(old.state_dict(), tmp_path / "model.pt")
    assert load_pretrained(new, tmp_path / "model.pt") == ["age"]
    noisy = torch.randn(2, 1, 8, 8)
    before = old(noisy, 5.0, torch.tensor([[1.0], [float("nan")]]))
    values = torch.tensor([[1.0, 80.0], [float("nan"), float("nan")]])
    assert torch.allclose(new(noisy, 5.0, values), before, atol=1e-6)
    new(noisy, 5.0, values).square().mean().backward()
    assert new.unet.class_embedding.embeddings["age"].last.weight.grad.any()


def test_safetensors_are_read(tmp_path):
    model = network(OLD, 0)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = network(OLD, 1)
    assert load_pretrained(other, tmp_path / "model.safetensors") == []
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_other_differences_are_errors(tmp_path):
    state = network(NEW, 0).state_dict()
    torch.save(state, tmp_path / "more.pt")
    with pytest.raises(ValueError, match="not expected"):
        load_pretrained(network(OLD, 0), tmp_path / "more.pt")
    state["unet.conv_in.conv.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "shape.pt")
    with pytest.raises(ValueError, match="another shape"):
        load_pretrained(network(NEW, 0), tmp_path / "shape.pt")


def test_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        load_weights(tmp_path / "gone.pt")
    torch.save({"a": torch.zeros(100)}, tmp_path / "model.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cut\.pt"):
        load_weights(tmp_path / "cut.pt")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="expected a mapping of names to tensors"):
        load_weights(tmp_path / "other.pt")


class Pickled:
    """Stands for whatever a foreign checkpoint holds beside tensors."""


def test_python_objects_are_refused_without_advice_to_load_them(tmp_path):
    torch.save({"model": Pickled()}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="Python objects") as caught:
        load_weights(tmp_path / "foreign.pt")
    assert "weights_only" not in str(caught.value)
