"""Saves the workspace of a Weights & Biases project: ``python scripts/wandb_workspace.py ENTITY PROJECT``."""

from argparse import ArgumentParser


def main() -> None:
    """Save the workspace and say where it is; needs an account and a network."""
    parser = ArgumentParser(description="Save the workspace that shows the runs of a project.")
    parser.add_argument("entity", help="user or team")
    parser.add_argument("project", help="as in logger.project")
    arguments = parser.parse_args()

    # Only now, so that --help is quick.
    from modise_lightning.reporting.wandb.workspace import describe_workspace

    print(describe_workspace(arguments.entity, arguments.project).save().url)


if __name__ == "__main__":
    main()
