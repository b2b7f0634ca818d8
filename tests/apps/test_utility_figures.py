"""Figures of arms: closed forms, an independent implementation, and the size of what could be found."""

import numpy as np
import pytest
from scipy import stats

from medgen.apps.report.utility import utility_words
from medgen.apps.utility.figures import ArmFigures, detectable_factor, figures_of_runs, mean_of_runs, verdict

CASES = [(f"s{i}", i % 2) for i in range(200)]
TRUTH = np.array([label for _, label in CASES])


def said(random, right):
    """Probabilities (1, 200, 2) that are right where ``right`` is."""
    sure = random.uniform(0.6, 0.9, 200)
    of_one = np.where((TRUTH == 1) == right, sure, 1 - sure)
    return np.stack([1 - of_one, of_one], axis=1)[None]


def test_figures_of_a_few_cases_by_hand():
    probabilities = np.array([[[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]])
    figures = figures_of_runs(probabilities, np.array([0, 1, 1]), np.array([[1.0, 1, 1], [1, 1, 0], [0, 1, 2]]))
    assert figures["accuracy"][0].tolist() == pytest.approx([2 / 3, 1, 1 / 3])
    assert figures["auc"][0, :2].tolist() == [1, 1]
    assert np.isnan(figures["auc"][0, 2])
    surprise = -np.log([0.8, 0.6, 0.3])
    assert figures["cross_entropy"][0].tolist() == pytest.approx(
        [surprise.mean(), surprise[:2].mean(), (surprise[1] + 2 * surprise[2]) / 3]
    )
    assert figures["brier"][0, 0] == pytest.approx((0.08 + 0.32 + 0.98) / 3)


def test_figures_of_three_labels_agree_with_scikit_learn():
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 60)
    probabilities = random.dirichlet(np.ones(3), 60)
    figures = figures_of_runs(probabilities[None], truth, np.ones((1, 60)))
    assert figures["accuracy"][0, 0] == pytest.approx(accuracy_score(truth, probabilities.argmax(1)))
    assert figures["auc"][0, 0] == pytest.approx(roc_auc_score(truth, probabilities, multi_class="ovr"))
    assert figures["cross_entropy"][0, 0] == pytest.approx(log_loss(truth, probabilities))


def test_arms_that_say_the_same_differ_by_nothing_at_all():
    random = np.random.default_rng(0)
    one = np.concatenate([said(random, random.random(200) < 0.7) for _ in range(3)])
    found = ArmFigures({"a": one, "b": one.copy()}, CASES, replicates=200).difference("a", "b")
    assert all(figure["value"] == figure["error"] == 0 for figure in found.values())
    assert {figure["verdict"] for figure in found.values()} == {"cannot be judged"}
    assert {figure[end] for figure in found.values() for end in ("low", "high", "degrees", "detectable")} == {None}


def test_arms_that_are_both_right_everywhere_are_not_said_to_be_equal():
    sure = said(np.random.default_rng(0), np.ones(200, bool))
    figures = ArmFigures({"a": np.repeat(sure, 5, 0), "b": np.repeat(0.9 * sure + 0.05, 5, 0)}, CASES, 200)
    assert figures.arm("a")["accuracy"] == {"value": 1.0, "low": None, "high": None}
    found = figures.difference("a", "b")
    assert found["accuracy"]["verdict"] == found["auc"]["verdict"] == "cannot be judged"
    assert found["brier"]["verdict"] == "helps"
    words, mark = utility_words(found["accuracy"], "Synthetic alone")
    assert words.startswith("Synthetic alone: cannot be judged.")
    assert mark == "warn"


def test_the_error_of_a_paired_difference_is_that_of_the_cases_which_differ():
    random = np.random.default_rng(1)
    right = random.random(200) < 0.7
    better = right | (random.random(200) < 0.2)
    arms = {"a": np.repeat(said(random, better), 3, 0), "b": np.repeat(said(random, right), 3, 0)}
    found = ArmFigures(arms, CASES, replicates=4000).difference("a", "b")["accuracy"]
    gain = better.astype(float) - right
    # subjects are drawn within labels: the error is that of the two labels' means
    expected = np.sqrt(sum((0.5**2) * gain[k == TRUTH].var() / 100 for k in (0, 1)))
    assert found["value"] == pytest.approx(gain.mean())
    assert found["error"] == pytest.approx(expected, rel=0.05)
    # all runs say the same, so that subjects alone are uncertain: 100 of each label
    assert found["degrees"] == pytest.approx(99)
    assert found["high"] - found["value"] == pytest.approx(stats.t.ppf(0.975, 99) * found["error"])
    assert found["detectable"] == pytest.approx(detectable_factor(99) * found["error"])
    assert found["verdict"] == "helps"


@pytest.mark.parametrize("degrees", [4, 60])
def test_what_is_called_detectable_is_found_in_eight_of_ten_experiments(degrees):
    random = np.random.default_rng(2)
    estimates = random.normal(detectable_factor(degrees), 1.0, 20_000)
    errors = np.sqrt(random.chisquare(degrees, 20_000) / degrees)
    assert (np.abs(estimates) > stats.t.ppf(0.975, degrees) * errors).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("of_subjects", "of_runs", "of_both"), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0.3, 1, 1)]
)
def test_arms_that_do_not_differ_are_said_to_in_one_of_twenty_experiments_at_most(of_subjects, of_runs, of_both):
    random, subjects, runs, false = np.random.default_rng(5), 40, 5, []
    for _ in range(600):
        each = of_subjects * random.standard_normal(subjects) + of_both * random.standard_normal((runs, subjects))
        each = each + of_runs * random.standard_normal((runs, 1)) / np.sqrt(subjects)
        drawn = random.multinomial(subjects, np.full(subjects, 1 / subjects), 100) / subjects
        low, high = mean_of_runs(np.concatenate([each.mean(1, keepdims=True), each @ drawn.T], 1), subjects).interval()
        false.append(not low <= 0 <= high)
    assert 0 < np.mean(false) < 0.078  # 600 experiments: three standard errors above 5 %; z and S - 1 draws gave 15 %


def test_whole_experiments_without_a_difference_seldom_find_one():
    random, cases, false = np.random.default_rng(6), [(f"s{i}", i % 2) for i in range(40)], []
    truth = np.array([label for _, label in cases])
    for number in range(150):
        subject = random.normal(0, 1, 40)  # how hard each is, for both arms

        def run(subject=subject):
            skill = random.uniform(0, 2)
            logit = skill * (2 * truth - 1) + subject + random.normal(0, 0.3, 40)
            one = 1 / (1 + np.exp(-logit))
            return np.stack([1 - one, one], 1)

        arms = {arm: np.stack([run() for _ in range(5)]) for arm in "ab"}
        found = ArmFigures(arms, cases, 200, number).difference("a", "b")
        false.append([found[name]["verdict"] != "no difference seen" for name in ("accuracy", "auc", "brier")])
    assert np.mean(false, axis=0).max() < 0.11  # of 150: three standard errors above 5 %


def test_seeds_are_resampled_too():
    random = np.random.default_rng(3)
    right = random.random(200) < 0.7
    steady = np.repeat(said(random, right), 4, 0)
    shaky = np.concatenate([said(random, random.random(200) < share) for share in (0.5, 0.9, 0.6, 0.8)])
    figures = ArmFigures({"steady": steady, "shaky": shaky}, CASES, replicates=500)
    widths = {
        arm: np.ptp([figures.arm(arm)["accuracy"][end] for end in ("low", "high")]) for arm in ("steady", "shaky")
    }
    assert widths["shaky"] > 1.5 * widths["steady"]
    assert len(figures.by_seed["shaky"]["accuracy"]) == 4


def test_the_error_that_few_seeds_bring_is_that_of_their_mean():
    shares = np.array([0.5, 0.9, 0.7])
    runs = np.stack([np.stack([1 - p, p], 1) for p in (np.where(TRUTH == 1, share, 1 - share) for share in shares)])
    same = np.repeat(runs[:1], 3, 0)
    found = ArmFigures({"a": runs, "b": same}, CASES, replicates=50).difference("a", "b")["brier"]
    # all cases are alike, so that nothing but the choice of seeds is uncertain
    expected = np.std(2 * (1 - shares) ** 2, ddof=1) / np.sqrt(3)
    assert found["error"] == pytest.approx(expected)
    assert found["degrees"] == pytest.approx(2)
    assert found["low"] == pytest.approx(found["value"] - stats.t.ppf(0.975, 2) * expected)


def test_risk_that_falls_is_a_gain():
    assert verdict({"low": -0.2, "high": -0.1}, -1) == verdict({"low": 0.1, "high": 0.2}, 1) == "helps"
    assert verdict({"low": 0.1, "high": 0.2}, -1) == "harms"
    assert verdict({"low": -0.1, "high": 0.2}, -1) == "no difference seen"


def test_intervals_end_where_figures_do():
    random = np.random.default_rng(4)
    runs = np.concatenate([said(random, random.random(200) < share) for share in (0.7, 0.99, 1.0)])
    found = ArmFigures({"a": runs, "b": runs}, CASES, 100).arm("a")
    assert found["accuracy"]["high"] == 1
    assert all(figure["low"] >= 0 for figure in found.values())


def test_one_seed_one_subject_and_unlike_arms_are_refused():
    one = said(np.random.default_rng(0), np.ones(200, bool))
    with pytest.raises(ValueError, match="expected two or more, found 1"):
        ArmFigures({"a": one, "b": one}, CASES)
    with pytest.raises(ValueError, match="expected one shape"):
        ArmFigures({"a": np.repeat(one, 2, 0), "b": np.repeat(one, 3, 0)}, CASES)
    with pytest.raises(ValueError, match="two subjects or more of each label"):
        ArmFigures({"a": np.repeat(one, 2, 0)}, [(f"s{i}", int(i == 0)) for i in range(200)])
    with pytest.raises(ValueError, match="3 of 4 are degenerate"):
        mean_of_runs(np.array([[0.5, 0.5, np.nan, np.nan, np.nan]] * 2), 10)


def test_no_difference_is_said_with_what_could_have_been_seen():
    words, mark = utility_words({"verdict": "no difference seen", "detectable": 0.1234}, "Synthetic alone")
    assert words.startswith("Synthetic alone: no difference seen.")
    assert "0.123" in words
    assert mark == "warn"
