"""Programs as people run them. Each row is a script; what it counts is its own time inside, start-up has rows of its own.

A script's part before ``---`` is made ready first and not counted.
"""

from __future__ import annotations

from typing import Final

TREE: Final = "cp -r /usr/lib/python3.11 /tmp/tree; cd /tmp/tree; git init -q; git config user.email a@b; git config user.name a"
PROJECT: Final = """mkdir /tmp/p; cd /tmp/p
for i in $(seq 24); do
  printf '#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\nint f%d(int x){char b[99];sprintf(b,"%%d",x);return strlen(b)*%d;}\\n' $i $i > f$i.c
done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n\\tar r all.a *.o 2>/dev/null\\n%%.o: %%.c\\n\\tgcc -O2 -c $<\\n' > Makefile"""
SOURCE: Final = """for i in $(seq 150); do
  printf 'int f%d(int *a, int n){int s=0;for(int i=0;i<n;i++){if(a[i]%%7==%d)s+=a[i]*i;else s^=a[i]<<%d;}return s;}\\n' $i $((i % 7)) $((i % 9))
done"""
SQLITE: Final = """
import sqlite3
c = sqlite3.connect("/tmp/t.db")
c.execute("create table t(a integer primary key, b text)")
for i in range(200):
    with c:
        c.executemany("insert into t(b) values(?)", [(str(i * k),) for k in range(50)])
"""
TRAIN: Final = """
import random
w = [0.0] * 64
for _ in range(600):
    x = [random.random() for _ in w]
    e = sum(a * b for a, b in zip(w, x)) - x[0]
    w = [a - 0.01 * e * b for a, b in zip(w, x)]
"""

# Rows that the base root file system can run
SCRIPTS: Final = {
    "python_pass": "python3 -c pass",
    "python_cpu": f"python3 -c '{TRAIN}'",
    "compileall_stdlib": "cp -r /usr/lib/python3.11/{json,email,asyncio,unittest,xml} /tmp/\n---\npython3 -m compileall -q -f /tmp",
    "gcc_O2": f"{SOURCE} >/tmp/a.c\n---\ngcc -O2 -c -o /tmp/a.o /tmp/a.c",
    "make_j2": f"{PROJECT}\n---\nmake -s -j2",
    "git_clone": f"{TREE}; git add -A; git commit -qm x; cd /tmp\n---\ngit clone -q tree copy",
    "git_status": f"{TREE}; git add -A; git commit -qm x\n---\ngit status --porcelain",
    "find_usr": "find /usr >/dev/null",
    "find_usr_again": "find /usr >/dev/null\n---\nfind /usr >/dev/null",
    "tar_usr_share": "tar cf - /usr/share 2>/dev/null | cat >/dev/null",
    "tar_usr_share_again": "tar cf - /usr/share 2>/dev/null | cat >/dev/null\n---\ntar cf - /usr/share 2>/dev/null | cat >/dev/null",
    "grep_usr_share": "grep -rc nothing_like_it /usr/share >/dev/null || true",
    "sha256_pipe_64m": "head -c 67108864 /dev/zero | sha256sum >/dev/null",
    "sha256_file_64m": "head -c 67108864 /dev/zero >/tmp/z\n---\nsha256sum /tmp/z >/dev/null",
    "sqlite_inserts": f"python3 -c '{SQLITE}'",
}  # fmt: skip


def script(name: str) -> str:
    """What bash is to run; its last line of output is the time counted, in microseconds."""
    before, sep, body = SCRIPTS[name].partition("\n---\n")
    if not sep:
        before, body = "", before
    return (
        f"export TMPDIR=/tmp; {before}\n_t=${{EPOCHREALTIME/./}}\n{body}\n"
        "echo; echo $((${EPOCHREALTIME/./} - _t))"
    )
