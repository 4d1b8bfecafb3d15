"""Native parts of the build; everything else is in pyproject.toml."""

import importlib.util
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

NATIVE = Path(__file__).parent / "nvsandbox/platform/native/build.py"


class BuildPy(build_py):
    """Makes the stub image before the package data is collected."""

    def run(self) -> None:
        spec = importlib.util.spec_from_file_location("nv_native_build", NATIVE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.build_stub()
        super().run()


setup(
    cffi_modules=["nvsandbox/platform/native/build.py:ffi"],
    cmdclass={"build_py": BuildPy},
)
