"""`nvsandbox spec`: a config.json to start from."""

from __future__ import annotations

import json
import os

import click


@click.command()
@click.option("--bundle", "-b", default=".", metavar="DIR", help="Where to write it.")
def spec(bundle: str) -> None:
    """Writes a template of config.json into the bundle directory."""
    from ...oci.spec import default_spec
    from ...sandbox.config import Failure

    path = os.path.join(bundle, "config.json")
    try:
        with open(path, "x") as f:
            json.dump(default_spec(), f, indent="\t")
            f.write("\n")
    except FileExistsError:
        raise Failure(f"file `{path}` exists. Remove it first") from None
    except OSError as e:
        raise Failure(f"create `{path}`: {(e.strerror or str(e)).lower()}") from None
