"""Compilers, make, git, dpkg."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from inside import REPO

Bash = Callable[..., str]
CACHE = REPO / "build" / "programs"


@pytest.fixture(scope="session")
def project() -> Path:
    """A C project of forty files with a Makefile: library, tests, dependencies between them."""
    d = CACHE / "project"
    d.mkdir(parents=True, exist_ok=True)
    n = 40
    for i in range(n):
        calls = f"return x * {i} + f{i - 1}(x % 97);" if i else "return x;"
        (d / f"f{i}.c").write_text(
            f'#include "all.h"\n#include <stdio.h>\n#include <string.h>\nint f{i}(int x) {{ {calls} }}\n'
        )
    (d / "all.h").write_text("".join(f"int f{i}(int);\n" for i in range(n)))
    (d / "main.c").write_text(
        f'#include <stdio.h>\n#include "all.h"\nint main(void) {{ printf("%d\\n", f{n - 1}(5)); }}\n'
    )
    objs = " ".join(f"f{i}.o" for i in range(n))
    (d / "Makefile").write_text(
        f"CFLAGS = -O2 -Wall\nmain: main.o libf.a\n\t$(CC) -o $@ main.o -L. -lf\nlibf.a: {objs}\n\tar rcs $@ $^\n%.o: %.c all.h\n"
        "\t$(CC) $(CFLAGS) -c -o $@ $<\ntest: main\n\t@./main\n"
    )
    return d


def test_gcc_and_gpp(bash: Bash) -> None:
    out = bash(
        "cd /tmp; cat >a.c <<'E'\n#include <math.h>\n#include <stdio.h>\nint main(int c, char **v) { printf(\"%.6f %d\\n\", sqrt(c + 1), c); return 3; }\nE\n"
        "gcc -O2 -o a a.c -lm && ./a x; echo $?; cat >b.cc <<'E'\n#include <iostream>\n#include <map>\n#include <stdexcept>\n#include <thread>\n"
        'int main() { std::map<std::string, int> m{{"a", 1}}; try { throw std::runtime_error("thrown"); } catch (std::exception &e) { std::cout << e.what() << m["a"]; }'
        " int n = 0; std::thread t([&] { n = 5; }); t.join(); std::cout << n << std::endl; }\nE\n"
        "g++ -O2 -std=c++17 -pthread -o b b.cc && ./b; gcc -static -o s a.c -lm && ./s; echo $?; echo 'int main( {' | gcc -x c - 2>/dev/null; echo $?; file -b a | cut -c1-10",
        timeout=110,
    )
    assert out == "1.732051 2\n3\nthrown15\n1.414214 1\n3\n1\nELF 64-bit\n"


def test_make(bash: Bash, project: Path) -> None:
    out = bash(
        "cp -r /p /tmp/p && cd /tmp/p && make -s -j2 && make -s test && touch f3.c && make -n | grep -c 'gcc\\|cc ' && make -q; echo $?",
        flags=["-v", f"{project}:/p:ro"],
        timeout=110,
    )
    lines = out.splitlines()
    native = subprocess.run(
        ["bash", "-c", f"d=$(mktemp -d); cp -r {project}/. $d; cd $d; make -s test; rm -r $d"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert lines[0] == native.stdout.split()[-1]
    assert lines[1:] == ["2", "1"]


def test_git(bash: Bash) -> None:
    out = bash(
        "cd /tmp; git config --global user.email a@b; git config --global user.name n; git config --global init.defaultBranch main;"
        "git init -q r; cd r; for i in $(seq 50); do echo $i >f$i; done; git add .; git commit -qm one; git checkout -qb side; echo x >>f1; git commit -qam two;"
        "git checkout -q main; echo y >>f2; git commit -qam three; git merge -q side -m merge; git log --oneline | wc -l; git status --porcelain | wc -l;"
        "cd ..; git clone -q r c; cd c; git log -1 --format=%s; git fsck --full 2>&1; git gc -q; cat f1 f2 | tr '\\n' ' '; git diff HEAD~1 --stat | tail -1",
        timeout=100,
    )
    assert out == "4\n0\nmerge\n1 x 2 y  1 file changed, 1 insertion(+)\n"


def test_dpkg(bash: Bash) -> None:
    """A package with maintainer scripts is built, installed, listed, removed."""
    out = bash(
        "cd /tmp; mkdir -p p/DEBIAN p/usr/share/probe; echo data >p/usr/share/probe/file;"
        "printf 'Package: probe\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: n <a@b>\\nDescription: a probe\\n' >p/DEBIAN/control;"
        "printf '#!/bin/sh\\necho post $1\\n' >p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst; dpkg-deb -b p probe.deb >/dev/null;"
        "dpkg -i probe.deb 2>/dev/null | grep post; cat /usr/share/probe/file; dpkg -l probe | tail -1 | cut -c1-2; dpkg -S /usr/share/probe/file;"
        "dpkg -r probe >/dev/null 2>&1; ls /usr/share/probe 2>/dev/null; dpkg --audit; echo end",
        timeout=100,
    )
    assert out == "post configure\ndata\nii\nprobe: /usr/share/probe/file\nend\n"
