"""Trains and evaluates this library's models and others on the same images, folds, size and processor time.

``python benchmarks/peers/run.py --model all --fold all --minutes 15 --output FOLDER`` goes on where it
stopped; ``table.py`` beside it makes the table, and ``install.py`` the environment of the peers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from peer_parts.evaluation import compose_config, evaluate_predictions, open_dataset
from peer_parts.exchange import Exchange
from peer_parts.exchange_writing import make_exchange
from peer_parts.ours import train_ours
from peer_parts.peer_process import COST, PeerRun
from peer_parts.predictions import read_prediction
from peer_parts.result_files import pack_result, read_cost, result_path
from peer_parts.settings import ENVIRONMENT, FOLDS, KEPT, MODELS, OURS, PEERS, REPOSITORY

_DATA = REPOSITORY / "data" / "cdd_cesm_pathology"


def main() -> int:
    """Run what is missing; give the exit status."""
    arguments = read_arguments()
    models = MODELS if arguments.model == "all" else (arguments.model,)
    folds = range(FOLDS) if arguments.fold == "all" else (int(arguments.fold),)
    if not (arguments.data / "panoptic.json").is_file():
        print(
            f"--data: '{arguments.data}' is no prepared dataset; make it with python -m "
            "modise_lightning.prepare data=cdd_cesm data.raw=DOWNLOAD.",
            file=sys.stderr,
        )
        return 1
    if set(models) & set(PEERS) and not (ENVIRONMENT / "complete").is_file():
        print("the peers have no environment yet: python benchmarks/peers/install.py", file=sys.stderr)
        return 1
    results: Path = arguments.results
    failed = 0
    for fold in folds:
        for model in models:
            path = result_path(results, model, fold)
            if path.is_file():
                failed += not is_same(path, arguments.minutes, arguments.size)
                continue
            failed += not run_one(arguments, model, fold, path)
    return int(failed > 0)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=[*MODELS, "all"], default="all")
    parser.add_argument("--fold", choices=[*map(str, range(FOLDS)), "all"], default="all", help="test fold")
    parser.add_argument("--minutes", type=float, default=15.0, help="processor time of each training")
    parser.add_argument("--size", type=int, default=192, help="longer side of the images in pixels")
    parser.add_argument("--data", type=Path, default=_DATA, help="prepared dataset")
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/peers"), help="for everything that is large"
    )
    parser.add_argument("--results", type=Path, default=KEPT, help="for the small result files")
    return parser.parse_args()


def is_same(path: Path, minutes: float, size: int) -> bool:
    """Say that a result is there already, or that it is one of another budget or size."""
    cost = read_cost(path)
    if (cost["minutes"], cost["size"]) == (minutes, size):
        print(f"== {path.stem}: there already", flush=True)
        return True
    print(
        f"== {path} is of {cost['minutes']} minutes at {cost['size']} pixels, not of {minutes} at {size}; "
        "give another --results.",
        file=sys.stderr,
    )
    return False


def run_one(arguments: argparse.Namespace, model: str, fold: int, path: Path) -> bool:
    """Train, predict and evaluate one model on one fold; say whether it succeeded."""
    print(f"== {path.stem}: {arguments.minutes} minutes of processor time", flush=True)
    output: Path = arguments.output.resolve()
    config = compose_config(arguments.data, arguments.size, fold, model, output)
    dataset = open_dataset(config)
    exchange = make_exchange(dataset, output / f"images_{arguments.size}", arguments.size)
    work = output / f"{model}_fold{fold}"
    shutil.rmtree(work, ignore_errors=True)  # what an interrupted one left would not be of one training
    work.mkdir(parents=True)
    run = PeerRun(model, exchange, fold, arguments.minutes, work, seed=0)
    log = work / "log.txt"
    try:
        if model in OURS:
            train_ours(run, arguments.data, log)
        else:
            train_peer(run, log)
            images = exchange.split(fold, "test")
            evaluate_predictions(
                config,
                dataset,
                images,
                lambda image: read_prediction(run.predictions / f"{image.key}.npz"),
                work / "run",
            )
            shutil.rmtree(run.predictions)
    except subprocess.CalledProcessError:
        print(f"== {path.stem}: failed; {log} says why", file=sys.stderr, flush=True)
        return False
    pack_result(path, work / "run", work / COST)
    spent = read_cost(path)["processor_seconds"] / 60
    print(f"== {path.stem}: done, {spent:.1f} minutes of processor time in the training", flush=True)
    return True


def train_peer(run: PeerRun, log: Path) -> None:
    """Train and predict in the peers' environment."""
    exchange: Exchange = run.exchange
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", PEERS[run.model], "--model", run.model]
    command += ["--exchange", str(exchange.folder), "--fold", str(run.fold), "--minutes", str(run.minutes)]
    command += ["--work", str(run.work), "--seed", str(run.seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parent)}
    with log.open("a", encoding="utf-8") as file:
        subprocess.run(command, check=True, env=environment, stdout=file, stderr=file)


if __name__ == "__main__":
    sys.exit(main())
