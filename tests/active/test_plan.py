import pytest

from src.active.plan import budget, make_plan, queries
from src.config import Config
from src.utils.errors import UserError


def config(**sections: object) -> Config:
    return Config.model_validate({"name": "test", **sections})


def training(**keys: object) -> Config:
    return config(training=keys)


def test_rounds_grow_by_the_list_in_order() -> None:
    given = training(iterations=4, initially_labelled=10, ndata_to_label=[5, 0, 7, 99])
    assert queries(given) == [5, 0, 7]
    assert budget(given, 1000) == [10, 15, 15, 22]


def test_the_last_round_has_all_labels_when_they_run_out() -> None:
    assert budget(training(iterations=9, initially_labelled=10, ndata_to_label=30), 75) == [10, 40, 70, 75]
    assert budget(training(iterations=3, initially_labelled=75, ndata_to_label=30), 75) == [75]


def test_a_plan_has_the_sizes_of_the_split_and_of_the_network() -> None:
    plan = make_plan(config(data={"dataset": "mnist"}))
    assert (plan.train_size, plan.val_size, plan.info.test_size) == (48_000, 12_000, 10_000)
    assert plan.parameters == 118_282 + 128 * 128 + 128 + 128 * 784 + 784


@pytest.mark.parametrize(
    ("given", "telling"),
    [
        (config(training={"heuristic": "bald"}), "training.heuristic.*disagreement"),
        (
            config(training={"heuristic": "precomputed"}, model={"name": "MLP"}),
            "training.heuristic.*density head",
        ),
        (config(model={"ensemble": 3}), "training.heuristic.*one network"),
        (config(training={"heuristic": "batchbald"}), "training.heuristic.*disagreement"),
        (
            config(training={"heuristic": "batch_hu"}, model={"name": "MLP"}),
            "training.heuristic.*density head",
        ),
        (
            config(training={"heuristic": "batch_hu"}, model={"mir_configs": {"density_model": "kde"}}),
            "training.heuristic.*gmm, knn.*'kde'",
        ),
        (
            config(
                training={"heuristic": "batch_hu"},
                model={"mir_configs": {"density_model": "gmm", "covariance": "tied"}},
            ),
            "training.heuristic.*covariance to full",
        ),
        *(
            (
                config(training={"heuristic": name}, model={"name": "MLP", "ensemble": 2}),
                "training.heuristic.*one network",
            )
            for name in ("coreset", "badge", "typiclust", "probcover", "hidden_coverage")
        ),
        (training(heuristic="combination"), "training.combination.*needs heuristics"),
        (
            training(heuristic="combination", combination={"coreset": 1.0}),
            "training.combination.*'coreset' chooses its batch as a whole and cannot be combined",
        ),
        (training(heuristic="combination", combination={"entrpy": 1.0}), "did you mean 'entropy'"),
        (
            training(heuristic="combination", combination={"entropy": 1.0, "bald": 1.0}),
            "'bald' of.*disagreement",
        ),
        (
            config(
                training={"heuristic": "combination", "combination": {"entropy": 1.0, "precomputed": 1.0}},
                model={"name": "MLP"},
            ),
            "'precomputed' of.*density head",
        ),
        (
            training(heuristic="margin", stochastic_batch="power"),
            "training.stochastic_batch.*softmax or softrank",
        ),
        (training(heuristic="coreset", stochastic_batch="softmax"), "training.stochastic_batch.*as a whole"),
        (
            config(training={"heuristic": "bald"}, model={"name": "BNN"}),
            "training.heuristic.*not for a BNN or BCNN",
        ),
        (config(training={"heuristic": "entrpy"}), "did you mean 'entropy'"),
        (config(training={"initially_labelled": 1500}), "training.initially_labelled.*1500 exceeds"),
        (config(data={"dataset": "cityscapes"}), "active_learning_segmentation.py"),
        (config(data={"dataset": "mnits"}), "did you mean 'mnist'"),
        (config(data={"img_rows": 28}), "data.img_rows"),
    ],
)
def test_what_cannot_work_is_refused_before_data_is_touched(given: Config, telling: str) -> None:
    with pytest.raises(UserError, match=telling):
        make_plan(given, "classification")


@pytest.mark.parametrize(
    "model",
    [
        {"name": "MLP", "ensemble": 2},
        {"name": "MLP", "mc_dropout": True, "mc_iterations": 2},
        {"name": "BNN", "mc_iterations": 2},
    ],
)
def test_members_satisfy_heuristics_of_disagreement(model: dict) -> None:
    assert make_plan(config(training={"heuristic": "BALD"}, model=model)).acquisition.consumes == {"members"}
