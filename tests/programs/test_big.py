"""Go, Java, PyTorch, a Debian source built with make -j2, a Debian package installed: what set-up put into its own root."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from inside import REPO, Ran, cli

Script = Callable[..., str]

GO = """
package main

import ("bytes"; "fmt"; "io"; "net"; "os"; "os/exec"; "os/signal"; "sort"; "strings"; "sync"; "syscall"; "time")

func main() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for i := 0; i < 200; i++ {
		wg.Add(1)
		go func(n int) { defer wg.Done(); time.Sleep(time.Millisecond); mu.Lock(); total += n; mu.Unlock() }(i)
	}
	wg.Wait()
	fmt.Println("goroutines", total)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil { fmt.Println(err); os.Exit(1) }
	go func() { for { c, err := l.Accept(); if err != nil { return }; go func() { io.Copy(c, c); c.Close() }() } }()
	for i := 0; i < 20; i++ {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil { fmt.Println(err); return }
			msg := strings.Repeat("x", n*1000)
			go func() { io.WriteString(c, msg); c.(*net.TCPConn).CloseWrite() }()
			var b bytes.Buffer
			io.Copy(&b, c)
			if b.String() != msg { fmt.Println("echo differs", n) }
		}(i)
	}
	wg.Wait()
	l.Close()
	out, err := exec.Command("sh", "-c", "echo from a child; exit 3").CombinedOutput()
	fmt.Printf("%s%v\\n", out, err)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-ch)
	d, _ := os.MkdirTemp("", "go")
	for _, n := range []string{"b", "a"} { os.WriteFile(d+"/"+n, []byte(n), 0644) }
	e, _ := os.ReadDir(d)
	names := []string{}
	for _, x := range e { names = append(names, x.Name()) }
	sort.Strings(names)
	fmt.Println(names)
	func() { defer func() { fmt.Println("recovered:", recover()) }(); var p *int; *p = 1 }()
}
"""
GO_OUT = """goroutines 19900
from a child
exit status 3
user defined signal 1
[a b]
recovered: runtime error: invalid memory address or nil pointer dereference
"""

JAVA = """
import java.io.*; import java.net.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.util.*; import java.util.concurrent.*; import java.util.stream.*;
public class Main {
  public static void main(String[] a) throws Exception {
    ExecutorService ex = Executors.newFixedThreadPool(8);
    List<Future<Integer>> fs = new ArrayList<>();
    for (int i = 0; i < 100; i++) { final int n = i; fs.add(ex.submit(() -> { Thread.sleep(1); return n * n; })); }
    int sum = 0;
    for (Future<Integer> f : fs) sum += f.get();
    ex.shutdown();
    System.out.println("pool " + sum);
    List<byte[]> keep = new ArrayList<>();
    for (int i = 0; i < 2000; i++) { byte[] b = new byte[50000]; if (i % 100 == 0) keep.add(b); }
    System.gc();
    System.out.println("collected " + keep.size());
    Path p = Files.createTempFile("j", ".bin");
    try (FileChannel c = FileChannel.open(p, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      MappedByteBuffer m = c.map(FileChannel.MapMode.READ_WRITE, 0, 8192);
      m.putInt(4096, 42);
      m.force();
      ByteBuffer b = ByteBuffer.allocate(4);
      c.read(b, 4096);
      b.flip();
      System.out.println("mapped " + b.getInt());
    }
    ServerSocket s = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());
    Thread t = new Thread(() -> { try (Socket c = s.accept()) { c.getInputStream().transferTo(c.getOutputStream()); } catch (IOException e) { System.out.println(e); } });
    t.start();
    try (Socket c = new Socket(s.getInetAddress(), s.getLocalPort())) {
      c.getOutputStream().write("echo".getBytes());
      c.shutdownOutput();
      System.out.println(new String(c.getInputStream().readAllBytes()));
    }
    t.join();
    Process q = new ProcessBuilder("sh", "-c", "read x; echo got $x; exit 7").redirectErrorStream(true).start();
    q.getOutputStream().write("line\\n".getBytes());
    q.getOutputStream().close();
    System.out.print(new String(q.getInputStream().readAllBytes()));
    System.out.println(q.waitFor());
    try { Object o = null; o.hashCode(); } catch (NullPointerException e) { System.out.println("null pointer"); }
    try { deep(0); } catch (StackOverflowError e) { System.out.println("stack overflow"); }
    System.out.println(IntStream.range(0, 1000000).parallel().filter(x -> x % 3 == 0).count());
  }
  static int deep(int n) { return deep(n + 1) + 1; }
}
"""
JAVA_OUT = """pool 328350
collected 20
mapped 42
echo
got line
7
null pointer
stack overflow
333334
"""

TORCH = """
import sys; sys.path.insert(0, "/opt/torch")
import torch, torch.nn as nn
torch.manual_seed(0); torch.set_num_threads(2)
net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))
opt = torch.optim.Adam(net.parameters(), 1e-2)
x = torch.randn(64, 1, 28, 28); y = torch.randint(0, 10, (64,))
losses = []
for _ in range(15):
    opt.zero_grad(); loss = nn.functional.cross_entropy(net(x), y); loss.backward(); opt.step(); losses.append(loss.item())
print(torch.__version__.split("+")[0], losses[-1] < losses[0], torch.get_num_threads())
class D(torch.utils.data.Dataset):
    def __len__(self): return 40
    def __getitem__(self, i): return torch.full((3,), float(i))
if __name__ == "__main__":
    total = sum(b.sum().item() for b in torch.utils.data.DataLoader(D(), batch_size=8, num_workers=2))
    print(total)
    torch.save(net.state_dict(), "/tmp/net.pt"); print(sorted(torch.load("/tmp/net.pt"))[0])
"""


@pytest.fixture
def script(big_root: Path, platform: str) -> Script:
    def run(text: str, files: dict[str, str] | None = None, timeout: float = 280) -> str:
        setup = "".join(
            f"cat >/tmp/{n} <<'END_OF_FILE'\n{c}\nEND_OF_FILE\n" for n, c in (files or {}).items()
        )
        done = subprocess.run(
            [*cli(platform, big_root), "bash", "-c", f"cd /tmp\n{setup}\n{text}"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, cwd=REPO,
        )  # fmt: skip
        got = Ran(done.returncode, done.stdout, done.stderr)
        assert got.status == 0, f"status {got.status}\n{got.text}\n{got.err.decode()[-3000:]}"
        return got.text

    return run


@pytest.mark.timeout(300)
def test_go(script: Script) -> None:
    out = script(
        "export GOCACHE=/tmp/gocache GOFLAGS=-mod=mod GO111MODULE=off; go build -o prog main.go && ./prog",
        {"main.go": GO},
    )
    assert out == GO_OUT


@pytest.mark.timeout(300)
def test_java(script: Script) -> None:
    assert script("javac Main.java && java -Xmx300m -Xss512k Main", {"Main.java": JAVA}) == JAVA_OUT


@pytest.mark.timeout(300)
def test_pytorch(script: Script) -> None:
    out = script("python3 train.py", {"train.py": TORCH})
    assert out == "2.13.0 True 2\n2340.0\n0.bias\n"


@pytest.mark.timeout(300)
def test_debian_source(script: Script) -> None:
    out = script(
        "cp -r /opt/src/zlib z && cd z && ./configure >/dev/null && make -s -j2 >/dev/null 2>&1 && make -s test 2>&1 | grep -c 'test OK' &&"
        " echo hello | ./minigzip | ./minigzip -d"
    )
    lines = out.split()
    assert int(lines[0]) >= 2
    assert lines[1] == "hello"


@pytest.mark.timeout(300)
def test_debian_package(script: Script) -> None:
    out = script(
        "dpkg -i /opt/deb/hello_*.deb >/dev/null 2>&1; hello; dpkg -l hello | tail -1 | cut -c1-2; dpkg -r hello >/dev/null; hash -r; command -v hello || echo gone"
    )
    assert out == "Hello, world!\nii\ngone\n"
