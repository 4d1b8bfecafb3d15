#!/usr/bin/env python3
"""Trees through Python: walking, copying, moving, removing, temporary files, links, glob, archives, watching sizes and times."""

import filecmp
import glob
import hashlib
import os
import pathlib
import shutil
import stat
import tarfile
import tempfile
import zipfile

os.umask(0o022)
root = pathlib.Path("tree")
for i in range(5):
    for j in range(5):
        d = root / f"d{i}" / f"e{j}"
        d.mkdir(parents=True)
        for k in range(4):
            (d / f"f{k}.txt").write_bytes(bytes([i * 16 + j]) * (k * 5000))
        (d / "link").symlink_to("f1.txt")
        os.link(d / "f2.txt", d / "hard")
os.chmod(root / "d0" / "e0" / "f1.txt", 0o640)
os.utime(root / "d0" / "e0" / "f1.txt", ns=(10**18 + 1, 10**18 + 2))


def digest(top):
    h = hashlib.sha256()
    for p, ds, fs in sorted(os.walk(top)):
        ds.sort()
        for f in sorted(fs):
            q = os.path.join(p, f)
            st = os.lstat(q)
            h.update(
                os.path.relpath(q, top).encode()
                + oct(st.st_mode).encode()
                + (os.readlink(q).encode() if stat.S_ISLNK(st.st_mode) else open(q, "rb").read())
            )
    return h.hexdigest()[:16]


print(digest("tree"), sum(len(f) for _, _, f in os.walk("tree")))
shutil.copytree("tree", "copy", symlinks=True)
print(
    digest("copy") == digest("tree"),
    os.stat("copy/d0/e0/f1.txt").st_mtime_ns,
    os.stat("tree/d1/e1/f2.txt").st_nlink,
    os.stat("copy/d1/e1/f2.txt").st_nlink,
)
print(
    filecmp.dircmp("tree", "copy").left_only,
    filecmp.cmp("tree/d2/e2/f3.txt", "copy/d2/e2/f3.txt", False),
)
shutil.move("copy/d0", "copy/moved")
os.rename("copy/moved/e0", "copy/e0")
print(sorted(os.listdir("copy")), sorted(os.listdir("copy/moved")))
os.replace("copy/d1/e1/f3.txt", "copy/d1/e1/f0.txt")
print(os.path.getsize("copy/d1/e1/f0.txt"), os.path.lexists("copy/d1/e1/f3.txt"))
print(
    len(glob.glob("tree/**/*.txt", recursive=True)),
    sorted(p.name for p in root.glob("d3/e*/f?.txt"))[:3],
)
with tarfile.open("t.tar.gz", "w:gz") as t:
    t.add("tree")
with tarfile.open("t.tar.gz") as t:
    t.extractall("untar")
print(digest("untar/tree") == digest("tree"), os.stat("untar/tree/d4/e4/f2.txt").st_nlink)
shutil.make_archive("z", "zip", "tree/d0")
print(len(zipfile.ZipFile("z.zip").namelist()))
with tempfile.TemporaryDirectory(dir=".") as d:
    with tempfile.NamedTemporaryFile(dir=d) as f:
        f.write(b"x" * 100000)
        f.flush()
        print(os.path.getsize(f.name), oct(os.stat(f.name).st_mode))
    with tempfile.TemporaryFile(dir=d) as f:
        f.write(b"abc")
        f.seek(0)
        print(f.read(), os.fstat(f.fileno()).st_nlink, os.listdir(d))
print(os.path.exists(d))
fd = os.open("big", os.O_RDWR | os.O_CREAT)
os.pwritev(fd, [b"a" * 3, b"b" * 5], 1 << 33)
print(
    os.fstat(fd).st_size,
    os.preadv(fd, [bytearray(4), bytearray(10)], (1 << 33) - 2),
    os.fstat(fd).st_blocks < 1000,
)
os.posix_fallocate(fd, 0, 4096)
os.truncate("big", 10)
print(os.path.getsize("big"))
for _n in os.scandir("tree/d0/e0"):
    pass
print(sorted((n.name, n.is_file(), n.is_symlink()) for n in os.scandir("tree/d0/e0")))
shutil.rmtree("tree")
shutil.rmtree("copy")
print(os.path.exists("tree"), sorted(os.listdir(".")))
b = open("text", "w+", newline="")
b.write("ä\r\nline\n" * 1000)
b.seek(0)
print(len(b.read()), os.path.getsize("text"))
