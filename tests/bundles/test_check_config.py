"""The rules of check_config, on small configurations of their own."""

import copy
import functools
import re

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow

import medgen
from medgen.bundles.check import accepted_arguments, config_problems
from medgen.bundles.workflow import check_processes
from medgen.spelling import nearest

CONFIG = {
    "imports": ["$import medgen"],
    "bundle_root": "$medgen.bundles.bundle_root()",
    "device": "cpu",
    "dataset_dir": "nowhere",
    "rate": 0.1,
    "text": "write to me@example.org",
    "network_def": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": "@train::width"},
    "train": {
        "width": 3,
        "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network_def.parameters()", "lr": "@rate"},
        "trainer": {"_target_": "dict", "max_epochs": 2, "optimizer": "@train::optimizer", "note": "@text"},
        "dataset": [],
        "inferer": {"_target_": "SimpleInferer"},
    },
    "initialize": ["$medgen.bundles.check_config()"],
    "run": ["$@train::trainer['max_epochs']"],
}


def parsed(**overrides):
    parser = ConfigParser()
    parser.read_config(copy.deepcopy(CONFIG))
    parser.update({key.replace("__", "::"): value for key, value in overrides.items()})
    parser.parse()
    return parser


def problems(**overrides):
    return config_problems(parsed(**overrides))


def test_a_sound_configuration_passes():
    assert problems() == []


def test_a_misspelt_override_names_the_nested_key_it_resembles():
    (problem,) = problems(max_epoks=1)
    assert problem == "max_epoks: nothing reads this key (nearest: 'train::trainer::max_epochs')"


def test_a_misspelt_top_level_key_names_its_neighbour():
    (problem,) = problems(dataset_dirr="x")
    assert "nearest: 'dataset_dir'" in problem


def test_an_unknown_constructor_argument_is_named_with_the_nearest_one():
    (problem,) = problems(train__optimizer__weight_dekay=0.1)
    assert problem == (
        "train::optimizer::weight_dekay: torch.optim.SGD has no argument 'weight_dekay' (nearest: 'weight_decay')"
    )


def test_a_key_that_no_part_of_a_section_reads_is_refused():
    (problem,) = problems(train__widht=4)
    assert problem == "train::widht: nothing reads this key (nearest: 'train::width')"


def test_undefined_references_are_found_before_they_are_needed():
    problem, *_ = problems(train__trainer__note="@textt")
    assert problem.startswith("train::trainer::note: refers to @textt, which is not defined (nearest: 'text')")


def test_a_target_that_does_not_exist_names_the_nearest():
    found = problems(train__inferer={"_target_": "medgen.randomness.seed_form"})
    assert found == [
        "train::inferer::_target_: cannot find medgen.randomness.seed_form (nearest: 'seed_from')",
    ]
    (found,) = problems(train__inferer={"_target_": "SimpleInfererr"})
    assert "cannot find SimpleInfererr (nearest: 'SimpleInferer')" in found


def test_monais_own_keys_and_tracking_are_not_refused():
    extra = {"val_interval": 1, "_desc_": "a note", "tracking_uri": "x", "save_execute_config": False}
    assert problems(**extra) == []


def test_component_keywords_of_monai_are_no_arguments():
    assert (
        problems(train__inferer={"_target_": "SimpleInferer", "_disabled_": True, "_desc_": "x", "_mode_": "default"})
        == []
    )


class Base:
    def __init__(self, a, *, b=1):
        self.values = a, b


class Forwarding(Base):
    def __init__(self, c, **kwargs):
        super().__init__(**kwargs)
        self.c = c


class Open:
    def __init__(self, **kwargs):
        self.values = kwargs


class Inheriting(Forwarding):
    pass


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        (Base, {"a", "b"}),
        (Forwarding, {"a", "b", "c"}),
        (Inheriting, {"a", "b", "c"}),
        (Open, None),
        (nearest, {"name", "candidates", "count"}),
        (functools.partial(nearest, count=1), {"name", "candidates", "count"}),
        (dict, None),
    ],
)
def test_accepted_arguments_follow_kwargs_to_the_base_class(component, expected):
    assert accepted_arguments(component) == expected


@pytest.mark.parametrize(("overrides", "message"), [({}, None), ({"max_epoks": 1}, "train::trainer::max_epochs")])
def test_the_first_item_of_initialize_stops_the_workflow(tmp_path, overrides, message, caplog):
    (tmp_path / "configs").mkdir()
    file = tmp_path / "configs" / "train.json"
    ConfigParser.export_config_file(CONFIG, file)
    workflow = ConfigWorkflow(str(file), meta_file=None, logging_file=False, **overrides)
    if message is None:
        workflow.initialize()
        assert workflow.bundle_root == str(tmp_path)
        return
    with pytest.raises(RuntimeError) as caught:
        workflow.initialize()
    assert isinstance(caught.value.__cause__, ValueError)
    assert message in str(caught.value.__cause__)


def test_a_configuration_named_in_an_args_file_finds_its_bundle_too(tmp_path):
    (tmp_path / "configs").mkdir()
    file = tmp_path / "configs" / "train.json"
    ConfigParser.export_config_file(CONFIG, file)
    arguments = {"config_file": str(file), "logging_file": False, "rate": 0.5}
    ConfigParser.export_config_file(arguments, tmp_path / "args.json")
    workflow = create_workflow(args_file=str(tmp_path / "args.json"))
    assert workflow.bundle_root == str(tmp_path)
    ConfigParser.export_config_file(arguments | {"max_epoks": 1}, tmp_path / "args.json")
    with pytest.raises(RuntimeError) as caught:
        create_workflow(args_file=str(tmp_path / "args.json"))
    assert "train::trainer::max_epochs" in str(caught.value.__cause__)


GENERATION = {"evaluator": {"share_batches": True}}
SETUP = "$medgen.engines.setup_distributed()"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"train": {}, "device": SETUP}, None),
        ({"train": {}, "device": "cpu"}, "device: found 'cpu', by which 2 processes of torchrun would not know"),
        (GENERATION | {"device": SETUP}, None),
        (GENERATION | {"device": "$torch.device('cuda:0')"}, "lay configs/multi_gpu.json over the configuration"),
        ({"evaluator": {}, "device": SETUP}, "found 2 processes of torchrun, expected one"),
        ({"evaluation": {}, "device": SETUP}, "found 2 processes of torchrun, expected one"),
    ],
)
def test_processes_that_would_do_the_same_work_are_refused(config, message, monkeypatch):
    check_processes(config)  # one process may do all
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_processes(config)  # another launcher's business
    monkeypatch.setenv("LOCAL_RANK", "1")
    if message is None:
        check_processes(config)
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        check_processes(config)


def test_check_config_needs_a_workflow():
    with pytest.raises(RuntimeError, match="found no MONAI ConfigWorkflow"):
        medgen.bundles.check_config()


def test_bundle_root_without_a_workflow_is_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert medgen.bundles.bundle_root() == str(tmp_path.resolve())
    parser = ConfigParser({"imports": ["$import medgen"], "root": "$medgen.bundles.bundle_root()"})
    assert parser.get_parsed_content("root") == str(tmp_path.resolve())


@pytest.mark.parametrize("value", [True, 1, "true", "True", "yes", "ON", "1", " true "])
def test_boolean_true(value):
    assert medgen.bundles.boolean(value, "amp") is True


@pytest.mark.parametrize("value", [False, 0, "false", "no", "off", "0"])
def test_boolean_false(value):
    assert medgen.bundles.boolean(value, "amp") is False


@pytest.mark.parametrize("value", ["flase", "", None, 2, 0.0, [], "none"])
def test_boolean_refuses_the_rest(value):
    with pytest.raises(ValueError, match=r"resume: found .*expected true or false"):
        medgen.bundles.boolean(value, "resume")


def test_boolean_may_allow_further_words():
    assert medgen.bundles.boolean("auto", "amp", also=["auto"]) == "auto"
