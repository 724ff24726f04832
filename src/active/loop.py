"""Deep active learning, whole: train on the labelled set, evaluate, score the pool, label the most uncertain, repeat.
Each step is a module beside this one; here is only their order."""

from collections.abc import Iterator

from src.active.checkpoint import Checkpoint
from src.active.gallery import save_gallery
from src.active.oracle import ensure_labels
from src.active.plan import Plan, mc_passes, queries, reconstructs_pool
from src.active.pool import Pool
from src.active.scoring import PoolView, fit_density, subsample
from src.active.task import Fitted
from src.config import Config
from src.data import DataBundle
from src.data.augment import augmentation
from src.models.build import build_density, build_model
from src.models.joint_fit import Setting
from src.models.training import Training
from src.utils import processes
from src.utils.errors import UserError
from src.utils.records import Query, RunRecords
from src.utils.seeding import RoundSeeds
from src.utils.stopping import in_steps
from src.utils.timing import PhaseTimer
from src.utils.watching import Watcher


def run_rounds(
    config: Config, plan: Plan, data: DataBundle, records: RunRecords, watcher: Watcher
) -> Iterator[int]:
    """Run the rounds that ``records`` does not have yet; each is on disk when its number is yielded.

    Every draw comes from (the run's seed, round, purpose), so a run that was killed and resumed gives the records
    of one that never was, also within a round if it was asked to stop. Several processes go through this side by side:
    each trains on its part of a batch and scores its part of the pool, and the first writes the records.
    Raises NonFiniteError, with the round, where training or scoring diverges, Stopped when it was asked to, and
    LabelsNeeded where a person has to give labels first.
    """
    taken_up = records.labelled_in_round_N
    pool = start_pool(config, data, records.run_seed) if taken_up is None else Pool(taken_up)
    while not records.finished:
        ensure_labels(data, pool, records)
        round_ = len(records.rows)
        checkpoint = Checkpoint(
            records.folder,
            RoundSeeds(records.run_seed, round_),
            config,
            data.fingerprint(),
            data.train.device,
        )
        try:
            with in_steps(), checkpoint.kept_on_stop():
                run_round(round_, config, plan, data, pool, records, checkpoint, watcher)
        except UserError as error:
            raise type(error)(f"round {round_ + 1} (seed {records.run_seed}): {error}") from error
        yield round_


def run_round(
    round_: int,
    config: Config,
    plan: Plan,
    data: DataBundle,
    pool: Pool,
    records: RunRecords,
    checkpoint: Checkpoint,
    watcher: Watcher,
) -> None:
    """model → fit → evaluate → record → look at the pool → choose → label."""
    seeds, passes, training = RoundSeeds(records.run_seed, round_), mc_passes(config), config.training
    device = data.train.device
    timer = PhaseTimer(device)
    labelled, held_out = pool.labelled_indices.to(device), pool.val_indices.to(device)

    with timer.phase("build"):
        model = build_model(config, plan.input_shape, plan.info.nb_classes, seeds, device)
        density = build_density(config, seeds)
    with timer.phase("fit"):
        augment = augmentation(config, data)
        unlabelled = pool.pool_indices if reconstructs_pool(config) else None
        setting = Setting(
            data.train, labelled, held_out, training, config.optimizer, seeds, augment, unlabelled
        )
        fit = Training(model, setting)
        checkpoint.take_up(fit)
        history = fit.run(
            lambda epoch, train, val: watcher.epoch(
                round_, len(labelled), fit.epochs_before + epoch, train, val
            )
        )
    with timer.phase("density"):
        if density is not None:
            fit_density(density, model, data.train, labelled, held_out)
    with timer.phase("evaluate"):
        fitted = Fitted(model, density, passes, seeds)
        splits = plan.task.evaluate(fitted, data, labelled, held_out)
        if processes.first():
            plan.task.illustrate(fitted, data, records.folder, round_)
    row = {
        "round": round_,
        "labelled": len(labelled),
        "pool": len(pool.pool_indices),
        **splits,
        "fit": vars(history),
        "class_balance": plan.task.class_balance(data.train, labelled),
        "density": density.diagnostics() if density is not None else None,
    }

    query, last = None, round_ + 1 == len(plan.labels)
    if not last:
        with timer.phase("score"):
            candidates = subsample(pool.pool_indices, training.max_pool_samples, seeds)
            view = PoolView(
                model,
                density,
                data.train,
                labelled,
                candidates.to(device),
                plan.info.nb_classes,
                passes,
                seeds,
                plan.task.reduce,
            )
            evidence = plan.acquisition.observe(view)
        with timer.phase("select"):
            batch = plan.acquisition.choose(evidence, queries(config)[round_], seeds)
            kept = (candidates, batch.pool_scores_N) if training.save_scores else (None, None)
            # The first process's, should another's last digits have decided otherwise between equals.
            positions_Q = processes.from_first(batch.positions_Q)
            query = Query(candidates[positions_Q], batch.scores_Q, *kept)
            pool.label(query.indices_Q, round_ + 1)
        if config.save_gallery and processes.first():
            with timer.phase("gallery"):
                path = records.folder / f"gallery_{round_}.png"
                scored = f"the {len(candidates)} scored"
                save_gallery(path, candidates, batch.pool_scores_N, data.train, plan.task, fitted, scored)
    records.commit({**row, "seconds": timer.take()}, query, pool.labelled_in_round_N, finished=last)
    watcher.round(records.rows[-1])


def start_pool(config: Config, data: DataBundle, run_seed: int) -> Pool:
    """The split and the initial labels, drawn with the run's seed; UserError where the dataset is too small."""
    balanced = config.training.initially_balanced and data.info.task == "classification"
    return Pool.start(
        len(data.train),
        data.train.labels(data.train.indices) if balanced else None,
        config.data.val_size,
        config.training.initially_labelled,
        RoundSeeds(run_seed, 0),
        # Labels that are there from the beginning are not left in the pool.
        data.given.came_labelled_N[: len(data.train)] if data.given is not None else None,
    )
