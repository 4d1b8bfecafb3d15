#!/usr/bin/python3
"""select, poll, epoll and selectors on the same pipes."""

import os
import select
import selectors

pipes = [os.pipe() for _ in range(50)]
e = select.epoll()
p = select.poll()
sel = selectors.DefaultSelector()
for r, _ in pipes:
    e.register(r, select.EPOLLIN)
    p.register(r, select.POLLIN)
    sel.register(r, selectors.EVENT_READ)
for i in (3, 17, 42):
    os.write(pipes[i][1], b"x")
want = {pipes[i][0] for i in (3, 17, 42)}
print({f for f, _ in e.poll(0)} == want, {f for f, _ in p.poll(0)} == want)
print(
    set(select.select([r for r, _ in pipes], [], [], 0)[0]) == want,
    {k.fd for k, _ in sel.select(0)} == want,
)
for _, w in pipes:
    os.close(w)
print(sorted({v for _, v in p.poll(0)}), sorted({v for _, v in e.poll(0)}), len(e.poll(0)))
for i in (3, 17, 42):
    os.read(pipes[i][0], 1)
print(sorted({v for _, v in p.poll(0)}))
