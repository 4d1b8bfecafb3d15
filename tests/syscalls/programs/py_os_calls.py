#!/usr/bin/python3
"""os and its errors."""

import errno
import os
import stat

os.makedirs("a/b/c")
os.symlink("b", "a/l")
with open("a/b/f", "w") as f:
    f.write("x" * 100)
print(sorted(os.listdir("a")), os.path.realpath("a/l/f").endswith("/a/b/f"))
for root, dirs, files in os.walk("a"):
    print(root, sorted(dirs), files)
print(os.stat("a/b/f").st_size, stat.filemode(os.lstat("a/l").st_mode))
for call, args in (
    (os.rmdir, ("a",)),
    (os.unlink, ("a",)),
    (os.rename, ("a", "a/b/x")),
    (os.open, ("none", os.O_RDONLY)),
    (os.readlink, ("a",)),
    (os.chdir, ("a/b/f",)),
    (os.truncate, ("a", 1)),
    (os.link, ("a", "z")),
    (os.kill, (2**22 + 5, 0)),
    (os.close, (77,)),
    (os.fchdir, (0,)),
    (os.setpgid, (0, -1)),
    (os.getxattr, ("a/b/f", "user.x")),
):
    try:
        print(call.__name__, call(*args))
    except OSError as e:
        print(call.__name__, errno.errorcode[e.errno])
r, w = os.pipe()
os.set_inheritable(w, True)
print(os.get_inheritable(r), os.get_inheritable(w), os.get_blocking(r))
with os.scandir("a") as it:
    print(sorted((e.name, e.is_dir(), e.is_symlink()) for e in it))
os.setxattr("a/b/f", "user.k", b"v")
print(os.listxattr("a/b/f"), os.getxattr("a/b/f", "user.k"))
print(os.waitstatus_to_exitcode(os.system("exit 3")), os.popen("echo p").read())
