"""Builds the native module (cffi, API mode), the stub image and the program ``nvsandbox``.

``python -m nvsandbox.platform.native.build`` builds them in place; ``setup.py`` calls the same functions.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
REL = "nvsandbox/platform/native"
CHECKSUM = runpy.run_path(str(HERE / "sources.py"))["checksum"]()
HARDENING = [
    "-O2", "-g0", "-Wall", "-Wextra", "-Werror", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2",
    "-fcf-protection=none",
]  # fmt: skip
STUB_FLAGS = [
    "-O2", "-fPIE", "-ffreestanding", "-fno-stack-protector", "-mgeneral-regs-only",
    "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-fvisibility=hidden",
    "-fno-jump-tables", "-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Werror",
]  # fmt: skip


def _cdef() -> str:
    """native.h and proto.h reduced to what cffi's parser reads; sizes come from the C compiler."""
    proto = (HERE / "proto.h").read_text()
    native = (HERE / "native.h").read_text()
    names = re.findall(r"^#define (NV_\w+) ", proto, re.M)
    consts = "\n".join(f"#define {n} ..." for n in names if n != "NV_PROTO_H")
    enums = "\n".join(re.findall(r"^enum \{.*?\};", proto + native, re.M | re.S))
    enums = re.sub(r"/\*.*?\*/", "", enums, flags=re.S)
    decls = native[native.index("struct nv_task {") :].replace("#endif", "")
    decls = re.sub(r"/\*.*?\*/", "", decls, flags=re.S)
    host = (HERE / "host.h").read_text()
    walk = (HERE / "walk.h").read_text()
    more = host[host.index("int nv_unshare") :] + walk[walk.index("int nv_openat2") :]
    decls += re.sub(r"/\*.*?\*/", "", more, flags=re.S).replace("#endif", "")
    kuser = "struct nv_kuser { uint32_t ptrace; ...; };\nstruct nv_slot { ...; };\nstruct nv_cmds { ...; };\nstruct nv_pt;\nstruct nv_file;\nstruct nv_files;\n"
    consts += "\n#define NV_SOURCES ..."  # what sources.py compares
    return f"{consts}\n{enums}\n{kuser}{decls}"


ffi = FFI()
ffi.cdef(_cdef())
ffi.set_source(
    "nvsandbox.platform.native._native",
    '#include "native.h"\n#include "host.h"\n#include "walk.h"\n',
    # setuptools wants them relative to setup.py
    sources=[
        f"{REL}/{f}"
        for f in (
            "native.c",
            "hot.c",
            "lent.c",
            "listing.c",
            "space.c",
            "host.c",
            "walk.c",
            "ptrace.c",
            "probe.c",
        )
    ],
    include_dirs=[REL],
    extra_compile_args=[*HARDENING, "-Wno-unused-parameter", f"-DNV_SOURCES={CHECKSUM}u"],
    extra_link_args=["-Wl,-z,relro,-z,now"],
    py_limited_api=False,  # hot.c knows CPython well
)


def build_stub(out: Path = HERE) -> None:
    """Compiles ``stub.elf.bin`` (what the zygote executes) and ``stub.bin`` (the flat image)."""
    cc = os.environ.get("CC", "gcc")
    obj, elf, flat = out / "stub.o", out / "stub.elf.bin", out / "stub.bin"
    subprocess.run([cc, *STUB_FLAGS, "-c", str(HERE / "stub.c"), "-o", str(obj)], check=True)
    link = ["-nostdlib", "-static", f"-Wl,-T,{HERE / 'stub.ld'}", "-Wl,--build-id=none"]
    subprocess.run([cc, *link, "-Wl,-z,noexecstack", "-o", str(elf), str(obj)], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", str(elf), str(flat)], check=True)
    obj.unlink()


def build_program(out: Path, paths: str = "") -> None:
    """Compiles the program ``nvsandbox``. ``paths``: where its Python modules are, joined by colons, if that is known."""
    cc = [os.environ.get("CC", "gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-D_FORTIFY_SOURCE=2"]
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    defines = [f'-DNV_PYTHON="{python}"', f'-DNV_PATHS="{paths}"']
    new = out.with_name(out.name + ".new")
    command = [*cc, *defines, str(HERE / "nvsandbox.c"), "-o", str(new)]
    # a static one starts in half the time
    if subprocess.run([*command, "-static"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run(command, check=True)
    new.replace(out)


if __name__ == "__main__":
    build_stub()
    root = HERE.parents[2]
    build_program(
        Path(sysconfig.get_path("scripts")) / "nvsandbox",
        f"{root}:{sysconfig.get_path('purelib')}",
    )
    os.chdir(HERE.parents[2])
    ffi.compile(verbose=False)
