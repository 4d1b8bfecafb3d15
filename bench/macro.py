"""Programs as people run them. Each row is a script; what it counts is its own time inside, start-up has rows of its own.

A script's part before ``---`` is made ready first and not counted. What begins with ``OWN`` counts for itself: its last line is
the row's value, in microseconds or (``PER_SECOND``) requests a second. A command that fails makes the row fail. What a script
starts it ends, whatever happens: natively nobody else does.
"""

from __future__ import annotations

from typing import Final

TREE: Final = "cp -r /usr/lib/python3.11 /tmp/tree; cd /tmp/tree; git init -q; git config user.email a@b; git config user.name a"
PROJECT: Final = """mkdir /tmp/p; cd /tmp/p
for i in $(seq 24); do
  printf '#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\nint f%d(int x){char b[99];sprintf(b,"%%d",x);return strlen(b)*%d;}\\n' $i $i > f$i.c
done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n\\tar r all.a *.o 2>/dev/null\\n%%.o: %%.c\\n\\tgcc -O2 -c $<\\n' > Makefile"""
# 164 modules of Debian 12's standard library
PACKAGES: Final = "{json,email,asyncio,unittest,xml,multiprocessing,importlib,http,urllib,zoneinfo}"
ZLIB: Final = "cp -r /opt/src/zlib /tmp/zlib; cd /tmp/zlib; ./configure >/dev/null"
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

OWN: Final = "#own\n"
BEST_OF_3: Final = """best=
for _ in 1 2 3; do
  t=${EPOCHREALTIME/./}; %s; t=$((${EPOCHREALTIME/./} - t))
  [ -n "$best" ] && [ $best -le $t ] || best=$t
done
echo $best"""
TORCH: Final = """
import sys; sys.path.insert(0, "/opt/torch")
import torch, torch.nn as nn
torch.set_num_threads(2)
net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 26 * 26, 10))
opt = torch.optim.Adam(net.parameters(), 1e-2)
x = torch.randn(64, 1, 28, 28); y = torch.randint(0, 10, (64,))
for _ in range(30):
    opt.zero_grad(); nn.functional.cross_entropy(net(x), y).backward(); opt.step()
"""
POSTGRES: Final = """b=$(echo /usr/lib/postgresql/*/bin); mkdir -m 777 /tmp/pg; cd /tmp/pg
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
trap 'as $b/pg_ctl -s -m immediate -D /tmp/pg/d stop >/dev/null 2>&1 || true' EXIT
as $b/initdb -D /tmp/pg/d -A trust >/dev/null
as $b/pg_ctl -s -w -D /tmp/pg/d -l /tmp/pg/log -o "-k /tmp/pg -c listen_addresses= -c dynamic_shared_memory_type=mmap" start
as $b/pgbench -h /tmp/pg -i -q postgres 2>/dev/null"""
NGINX: Final = """mkdir -p /tmp/n/www; head -c 1024 /dev/zero >/tmp/n/www/f
cat >/tmp/n/conf <<'E'
worker_processes 1; pid /tmp/n/pid; error_log /dev/null; events {}
http { access_log off; client_body_temp_path /tmp/n/b; proxy_temp_path /tmp/n/p; fastcgi_temp_path /tmp/n/f; uwsgi_temp_path /tmp/n/u;
  scgi_temp_path /tmp/n/s; server { listen 127.0.0.1:8080; root /tmp/n/www; } }
E
trap 'kill $(cat /tmp/n/pid 2>/dev/null) 2>/dev/null || true' EXIT
nginx -c /tmp/n/conf -g 'user root;' 2>/dev/null; sleep 0.3
rate=$(wrk -t 1 -c 16 -d 2 http://127.0.0.1:8080/f | sed -n 's/Requests.sec: *//p' | cut -d. -f1)
kill $(cat /tmp/n/pid)
echo $rate"""
REDIS: Final = """redis-server --save '' --port 7001 >/dev/null &
trap 'kill $! 2>/dev/null || true' EXIT
sleep 0.7
rate=$(redis-benchmark -p 7001 --csv -n 20000 -c 50 -t %s | sed -n 's/^"[SG]ET","\\([0-9]*\\).*/\\1/p')
redis-cli -p 7001 shutdown nosave; wait
echo $rate"""

# Rows that the base root file system can run
SCRIPTS: Final = {
    "python_pass": OWN + BEST_OF_3 % "python3 -c pass",
    "python_first": "python3 -c pass",
    "python_cpu": f"python3 -c '{TRAIN}'",
    "compileall_164_files": f"mkdir /tmp/c; cp -r /usr/lib/python3.11/{PACKAGES} /tmp/c/\n---\npython3 -m compileall -q -f /tmp/c",
    "gcc_O2": f"{SOURCE} >/tmp/a.c\n---\ngcc -O2 -c -o /tmp/a.o /tmp/a.c",
    "make_j2": f"{PROJECT}\n---\nmake -s -j2",
    "git_clone": f"{TREE}; git add -A; git commit -qm x; cd /tmp\n---\ngit clone -q tree copy",
    "git_status": f"{TREE}; git add -A; git commit -qm x\n---\ngit status --porcelain",
    "find_usr": "find /usr >/dev/null",
    "find_usr_again": "find /usr >/dev/null\n---\nfind /usr >/dev/null",
    "tar_usr_share": "tar cf - /usr/share 2>/dev/null | cat >/dev/null",
    "tar_usr_share_again": "tar cf - /usr/share 2>/dev/null | cat >/dev/null\n---\ntar cf - /usr/share 2>/dev/null | cat >/dev/null",
    "find_root": "find / -xdev >/dev/null",
    "find_root_again": "find / -xdev >/dev/null\n---\nfind / -xdev >/dev/null",
    "tar_usr": "tar cf - /usr 2>/dev/null | cat >/dev/null",
    "tar_usr_again": "tar cf - /usr 2>/dev/null | cat >/dev/null\n---\ntar cf - /usr 2>/dev/null | cat >/dev/null",
    "grep_usr": "grep -rc nothing_like_it /usr >/dev/null || true",
    "grep_usr_share": "grep -rc nothing_like_it /usr/share >/dev/null || true",
    "sha256_pipe_256m": "head -c 268435456 /dev/zero | sha256sum >/dev/null",
    "sha256_file_256m": "head -c 268435456 /dev/zero >/tmp/z\n---\nsha256sum /tmp/z >/dev/null",
    "sqlite_inserts": f"python3 -c '{SQLITE}'",
}  # fmt: skip

# and those that need the one of tools/mkprograms.sh
PROGRAMS: Final = {
    "node_start": OWN + BEST_OF_3 % "node -e 0",
    "java_version": OWN + BEST_OF_3 % "java -version 2>/dev/null",
    "pip_install": "python3 -m pip install -q --no-index --find-links /opt/wheels --break-system-packages --target /tmp/site django 2>/dev/null",
    "torch_train": f"python3 -c '{TORCH}'",
    "ffmpeg": "ffmpeg -loglevel error -f lavfi -i testsrc=size=640x360:rate=25:duration=6 -c:v mpeg4 -y /tmp/o.mp4",
    "make_zlib_j2": f"{ZLIB}\n---\nmake -s -j2 >/dev/null",
    "pgbench": f"{POSTGRES}\n---\nas $b/pgbench -h /tmp/pg -n -c 4 -t 200 postgres >/dev/null 2>&1",
    "nginx": OWN + NGINX,
    "redis_set": OWN + REDIS % "set",
    "redis_get": OWN + REDIS % "get",
}  # fmt: skip


PER_SECOND: Final = ("redis_set", "redis_get", "nginx")


def script(name: str) -> str:
    """What bash is to run; its last line of output is the row's value."""
    text = SCRIPTS.get(name) or PROGRAMS[name]
    if text.startswith(OWN):
        return f"set -e; export TMPDIR=/tmp\n{text}"
    before, sep, body = text.partition("\n---\n")
    if not sep:
        before, body = "", before
    return (
        f"set -e; export TMPDIR=/tmp; {before}\n_t=${{EPOCHREALTIME/./}}\n{body}\n"
        "echo; echo $((${EPOCHREALTIME/./} - _t))"
    )
