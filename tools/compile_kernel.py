"""Compiles the Sentry with mypyc into ``nvsandbox/_compiled`` (see nvsandbox/compiled.py). Does nothing when that is fresh.

``--check``: only says whether it is.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from nvsandbox import compiled  # noqa: E402

OUT = Path(compiled.OUT)

# A module outside the Sentry is here when a class of it derives from one that is compiled.
ALSO = ["nvsandbox/nvproxy/devices.py", "nvsandbox/nvproxy/dmabuf.py"]
GROUP = "nvsandbox_kernel"


def sources() -> list[str]:
    found = sorted((REPO / "nvsandbox/sentry").rglob("*.py"))
    return [str(p.relative_to(REPO)) for p in found] + ALSO


def rows() -> dict[str, list[list[str]]]:
    """Parameter names and types of every handler, which a compiled function no longer tells."""
    out = {}
    package = importlib.import_module("nvsandbox.sentry.syscalls")
    for m in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{m.name}")
        for row in getattr(module, "TABLE", {}).values():
            if row.handler is not None:
                out[row.handler.__name__] = [list(row.args), list(row.widths)]
    return out


def main() -> int:
    os.chdir(REPO)
    if "--check" in sys.argv or compiled.fresh():
        print("compiled kernel:", "fresh" if compiled.fresh() else "stale")
        return 0
    print("compiling the kernel (two minutes or so) …", flush=True)
    os.environ["NVSANDBOX_COMPILED"] = "0"
    if "CC" not in os.environ and shutil.which("ccache"):
        os.environ["CC"] = "ccache gcc"
    stamp = {f: compiled.fingerprint(str(REPO / f)) for f in sources()}
    table = rows()
    modules = [f for f in sources() if not f.endswith("__init__.py")]
    shutil.rmtree(OUT, ignore_errors=True)
    build(modules)
    for f in sources():
        if f.endswith("__init__.py") and f != "nvsandbox/sentry/__init__.py":
            shutil.copy(REPO / f, OUT / f)
    (OUT / "nvsandbox/sentry/syscalls/rows.json").write_text(json.dumps(table))
    (OUT / compiled.STAMP).write_text(json.dumps(stamp))
    return check()


def check() -> int:
    """Whether all of it can be imported; else it is removed, and the sources run."""
    load = "from nvsandbox.sandbox.launch import load; load()"
    env = {k: v for k, v in os.environ.items() if k != "NVSANDBOX_COMPILED"}
    done = subprocess.run([sys.executable, "-c", load], env=env, cwd=REPO, check=False)
    if done.returncode:
        shutil.rmtree(OUT)
        print("the compiled kernel can't be loaded", file=sys.stderr)
    return done.returncode


def build(modules: list[str]) -> None:
    """Runs mypyc and the C compiler."""
    from mypyc.build import mypycify
    from setuptools import Extension, setup
    from setuptools.command.build_ext import build_ext

    class BuildExt(build_ext):
        """Compiles an extension's sources side by side; setuptools does one after the other."""

        def build_extension(self, ext: Extension) -> None:
            def compile_one(source: str) -> list[str]:
                return self.compiler.compile(
                    [source], output_dir=self.build_temp, include_dirs=ext.include_dirs, extra_postargs=ext.extra_compile_args,
                )  # fmt: skip

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for objects in pool.map(compile_one, ext.sources):
                    ext.extra_objects += objects
            ext.sources = []
            super().build_extension(ext)

    work = REPO / "build/mypyc"
    extensions = mypycify(
        ["--strict", *modules], opt_level="2", debug_level="0", multi_file=True, target_dir=str(work),
        group_name=GROUP,
    )  # fmt: skip
    setup(
        name="nvsandbox-kernel",
        packages=[],
        ext_modules=extensions,
        script_args=[
            "-q", "build_ext", f"--build-lib={OUT}", f"--build-temp={work}",
        ],
        cmdclass={"build_ext": BuildExt},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
