"""Makes the environment of the peers, ``.venv-peers``: ``python benchmarks/peers/install.py``.

Run it with the library's own Python. The new environment sees the packages of the library's (the same PyTorch
and transformers for all models, and no gigabytes twice) and holds only what nnU-Net needs beside.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from peer_parts.settings import ENVIRONMENT, REPOSITORY

REQUIREMENTS = ["nnunetv2==2.7.0"]  # with which the table was measured


def main() -> None:
    """Make it; what is there already is kept."""
    complete = ENVIRONMENT / "complete"
    if complete.is_file():
        print(f"{ENVIRONMENT} is there already; remove it to make it anew")
        return
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    packages = sysconfig.get_paths(vars={"base": str(ENVIRONMENT), "platbase": str(ENVIRONMENT)})["purelib"]
    own = sysconfig.get_paths()["purelib"]
    # A path file, as of site: what is installed here goes before what the library's environment has.
    (Path(packages) / "library.pth").write_text(f"{own}\n", encoding="utf-8")
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", str(REPOSITORY / "constraints.txt"), *REQUIREMENTS], check=True)
    complete.touch()
    print(f"{ENVIRONMENT}: complete")


if __name__ == "__main__":
    main()
