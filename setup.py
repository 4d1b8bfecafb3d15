"""Native parts of the build; everything else is in pyproject.toml."""

import importlib.util
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

from distutils.command.build_scripts import build_scripts  # isort: skip (setuptools brings it)


def native():
    where = Path(__file__).parent / "nvsandbox/platform/native/build.py"
    spec = importlib.util.spec_from_file_location("nv_native_build", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildPy(build_py):
    """Makes the stub image before the package data is collected."""

    def run(self) -> None:
        native().build_stub()
        super().run()


class BuildScripts(build_scripts):
    """The one program is compiled."""

    def get_source_files(self) -> list[str]:
        return []

    def run(self) -> None:
        self.mkpath(self.build_dir)
        native().build_program(Path(self.build_dir) / "nvsandbox")


setup(
    cffi_modules=["nvsandbox/platform/native/build.py:ffi"],
    cmdclass={"build_py": BuildPy, "build_scripts": BuildScripts},
    scripts=["nvsandbox"],
)
