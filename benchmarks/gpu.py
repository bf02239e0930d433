"""Everything that is measured on a GPU, by one command, most important first.

Run ``python benchmarks/gpu.py --minutes 8 --output FOLDER``. Each part runs in its own process with its own
time limit, so that a failure or the end of the time costs only what is left. It prints one table and writes
``PART.json`` for each part, ``gpu.json`` and ``gpu.md``. Run again with the same folder it resumes: parts
that were completed on the same card with the same versions are not repeated. It needs no network and no
downloads: all weights are random. ``--device cpu --tiny`` tries the command itself; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class PartPlan:
    """A part and the most seconds that it may take of the whole.

    Attributes:
        name: Of its module in ``gpu_parts`` and of its files.
        seconds: Its limit; what it leaves goes to the next ones.
    """

    name: str
    seconds: float


PLAN = (
    PartPlan("correctness", 80),
    PartPlan("tests", 120),
    PartPlan("training", 120),
    PartPlan("cost", 30),
    PartPlan("settings", 260),
    PartPlan("kernels", 60),
    PartPlan("waiting", 60),
    PartPlan("prediction", 60),
)


def main() -> None:
    """Run the parts and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="most time for everything")
    parser.add_argument("--output", type=Path, required=True, help="folder of results; resumes what is there")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try the command itself")
    parser.add_argument(
        "--parts", nargs="+", choices=[plan.name for plan in PLAN], help="only these, in this order"
    )
    parser.add_argument("--inside", metavar="PART", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        sys.exit(run_inside(arguments))
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.device == "cuda" and not has_cuda():
        sys.exit("This benchmark needs a CUDA device, and there is none. Try it with --device cpu --tiny.")
    end = time.monotonic() + 60 * arguments.minutes
    plans = {plan.name: plan for plan in PLAN}
    for name in arguments.parts or plans:
        run_part(plans[name], arguments, end - time.monotonic())
    write_tables(arguments.output)


def has_cuda() -> bool:
    """Ask PyTorch in another process, so that this one holds no memory of the card."""
    asked = [sys.executable, "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    return subprocess.run(asked, check=False).returncode == 0


def run_part(plan: PartPlan, arguments: argparse.Namespace, seconds_left: float) -> None:
    """Run a part in a process of its own, unless it is complete or there is no time."""
    path = arguments.output / f"{plan.name}.json"
    if is_complete(path, arguments):
        print(f"== {plan.name}: complete already", flush=True)
        return
    seconds = min(plan.seconds, seconds_left)
    if seconds < 10:
        print(f"== {plan.name}: no time left", flush=True)
        return
    print(f"== {plan.name}: at most {seconds:.0f} s", flush=True)
    command = [sys.executable, str(Path(__file__)), "--inside", plan.name, "--seconds", f"{seconds:.0f}"]
    command += ["--output", str(arguments.output), "--device", arguments.device]
    command += ["--tiny"] if arguments.tiny else []
    try:
        subprocess.run(command, check=False, timeout=seconds + 5, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    except subprocess.TimeoutExpired:
        print(f"== {plan.name}: its time ended; what it had measured is kept", flush=True)


def is_complete(path: Path, arguments: argparse.Namespace) -> bool:
    """Tell whether a part's file is whole and of this card and these versions."""
    if not path.is_file():
        return False
    import torch

    from gpu_parts.record import describe_environment

    content = json.loads(path.read_text(encoding="utf-8"))
    same: bool = content["environment"] == describe_environment(
        torch.device(arguments.device), arguments.tiny
    )
    return bool(content["complete"]) and same


def run_inside(arguments: argparse.Namespace) -> int:
    """Run one part in this process."""
    import torch

    from gpu_parts.record import Part

    part = Part(
        path=arguments.output / f"{arguments.inside}.json",
        device=torch.device(arguments.device),
        tiny=arguments.tiny,
        deadline=time.monotonic() + arguments.seconds,
    )
    part.write(complete=False)
    try:
        importlib.import_module(f"gpu_parts.{arguments.inside}").measure(part)
    except Exception as error:  # Whatever it is, the other parts go on, and the table says it.
        traceback.print_exc()
        part.write(complete=False, error=f"{type(error).__name__}: {error}".splitlines()[0])
        return 1
    part.write(complete=True)
    return 0


def write_tables(output: Path) -> None:
    """Write ``gpu.json`` and ``gpu.md`` from the parts' files, and print the table."""
    contents: dict[str, Any] = {}
    for plan in PLAN:
        path = output / f"{plan.name}.json"
        if path.is_file():
            contents[plan.name] = json.loads(path.read_text(encoding="utf-8"))
    (output / "gpu.json").write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    lines = []
    for name, content in contents.items():
        environment = content["environment"]
        versions = ", ".join(
            f"{key} {environment[key]}"
            for key in ("driver", "cuda", "torch", "triton", "diffusers", "transformers")
            if environment.get(key)
        )
        state = "complete" if content["complete"] else content["error"] or "its time ended"
        tiny = " Tiny sizes: the numbers mean nothing." if environment["tiny"] else ""
        lines += [
            f"**{name}** on {environment['device']} ({versions}), {content['seconds']:.0f} s, {state}.{tiny}",
            "",
            "| | measured | times better than | goal |",
            "|---|---|---|---|",
        ]
        for row in content["rows"]:
            value = row["value"] if isinstance(row["value"], str) else f"{row['value']:.3g}"
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f} x "
            lines.append(
                f"| {row['name']} | {value} {row['unit']} | {ratio}{row['beside']} | {row['goal']} |"
            )
        lines.append("")
    text = "\n".join(lines)
    (output / "gpu.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
