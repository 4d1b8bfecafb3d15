# nftables: how rule sets are listed, what is refused and leaves everything as it was, and what passes.
D=$(mktemp -d)
trap 'rm -rf $D' EXIT
try() { "$@" 2>&1 | grep -o '^Error: .*' | sed 's/Could not process rule: //; s/; did you mean.*//' || true; }
cat > $D/one.nft <<'P'
table ip nat {
	chain out { type nat hook output priority -100; policy accept; tcp dport 81 redirect to :8080; tcp dport 82 dnat to 127.0.0.1:8080; tcp dport { 83, 84 } dnat to 127.0.0.1:tcp dport map { 83 : 8080, 84 : 8081 }; }
	chain post { type nat hook postrouting priority srcnat; oifname "lo" tcp dport 8081 snat to 127.0.0.9; oifname "nosuch*" masquerade; }
}
table inet f {
	counter hits { }
	quota much { over 1 mbytes }
	limit slow { rate 10/second burst 5 packets }
	set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.0-192.168.1.7, 1.2.3.4 } }
	set pairs { type ipv4_addr . inet_service; flags interval; elements = { 127.0.0.0/8 . 90-99, 10.0.0.1 . 5 } }
	set times { type ipv4_addr; flags timeout; timeout 1h; }
	set seen { type inet_service; size 128; flags dynamic; counter; }
	map ports { type inet_service : verdict; elements = { 1234 : drop, 1235 : jump refuse, 1236 : goto rst } }
	map marks { type ipv4_addr : mark; elements = { 127.0.0.1 : 0x17, 127.0.0.2 : 18 } }
	chain refuse { meta l4proto tcp counter name hits reject with icmpx port-unreachable; }
	chain rst { counter reject with tcp reset; }
	chain in {
		type filter hook input priority 0; policy accept;
		iifname "lo" tcp dport vmap @ports
		ip daddr . tcp dport @pairs counter reject
		ip saddr @nets counter drop
		tcp flags & (syn | ack) == syn add @seen { tcp dport }
		meta nfproto ipv4 udp dport 5354 counter drop comment "no such service"
		ct state invalid counter
		ct mark 0x17 counter
		ip protocol icmp icmp type echo-request limit rate over 1/minute burst 1 packets counter drop
		icmpv6 type echo-request counter drop
		udp length > 100 counter
		meta mark 0x5 counter drop
	}
	chain out {
		type filter hook output priority filter + 10; policy accept;
		meta skuid 1000 tcp dport 8080 counter reject with tcp reset
		ct mark set ip daddr map @marks
		udp dport 5356 meta mark set 0x5
		udp dport 5355 counter drop
		fib daddr type local counter
		ip ttl 64 ip dscp set cs1
		ip dscp cs1 counter
		log prefix "seen: " level info
		meta l4proto tcp ct original proto-dst 82 counter
		tcp option maxseg size set rt mtu
		quota name "much" drop
	}
}
table ip6 x {
	chain c { type filter hook forward priority mangle; policy drop; ip6 saddr fd00::/8 ip6 hoplimit > 3 accept; }
}
P
nft -f $D/one.nft
cat > $D/try.py <<'P'
import os, socket, sys, threading
def serve(port, kind):
    s = socket.socket(socket.AF_INET, kind); s.setsockopt(1, 2, 1); s.bind(("127.0.0.1", port))
    def run():
        while True:
            if kind == socket.SOCK_STREAM:
                c, a = s.accept(); c.sendall(a[0].encode()); c.close()
            else:
                d, a = s.recvfrom(2000); s.sendto(d, a)
    if kind == socket.SOCK_STREAM: s.listen()
    threading.Thread(target=run, daemon=True).start()
for p in (8080, 8081, 95, 1234, 1235, 1236): serve(p, socket.SOCK_STREAM)
for p in (5353, 5354, 5356): serve(p, socket.SOCK_DGRAM)
def ask(port, kind, data=b"hello"):
    s = socket.socket(socket.AF_INET, kind); s.settimeout(1.5)
    try:
        s.connect(("127.0.0.1", port)); s.send(data); return s.recv(2000)[:20]
    except OSError as e: return e.strerror or repr(e)
def all_():
    for p in (8080, 81, 82, 83, 84, 8081, 95, 1234, 1235, 1236, 999): print("tcp", p, ask(p, socket.SOCK_STREAM))
    for p, d in ((5353, b"x"), (5353, b"x" * 200), (5354, b"x"), (5355, b"x"), (5356, b"x")): print("udp", p, ask(p, socket.SOCK_DGRAM, d))
all_()
sys.stdout.flush()
if not os.fork():
    os.setuid(1000); print("user", ask(8080, socket.SOCK_STREAM), flush=True); os._exit(0)
os.wait()
P
nft list ruleset
python3 $D/try.py
ping -c3 -i0.2 -W1 127.0.0.1 | grep transmitted | cut -d, -f1,2
ping -c1 -W1 ::1 | grep transmitted | cut -d, -f1,2
nft list chain inet f in | grep -v 'udp length\|seen\|ct mark'
nft list chain inet f out | grep dport
nft list set inet f seen | grep -o '\(8080\|8081\|95\|999\)' | sort | uniq
nft list counter inet f hits
nft get element inet f nets '{ 10.1.2.3 }'; nft get element inet f nets '{ 192.168.1.3 }'
try nft get element inet f nets '{ 11.1.2.3 }'
nft add element inet f times '{ 10.0.0.1, 10.0.0.2 timeout 1s }'; sleep 1.5; nft list set inet f times | sed 's/expires [0-9a-z]*/expires/'
nft delete element inet f nets '{ 1.2.3.4 }'; nft list set inet f nets
# What is refused
try nft add rule inet f nosuch accept
try nft add rule inet f in jump nosuch
try nft add rule inet f in jump in
try nft add chain inet f a; try nft add chain inet f b; try nft add rule inet f a jump b; try nft add rule inet f b jump a
try nft delete chain inet f refuse
try nft delete set inet f nets
try nft add rule inet f in masquerade
try nft add chain inet f in2 '{ type nat hook forward priority 0; }'
try nft create table inet f
try nft delete table inet nosuch
try nft delete counter inet f hits
try nft add rule inet f in tcp dport @nosuch accept
# All or nothing
nft delete table inet f
nft -f $D/one.nft
nft list ruleset > $D/before
printf 'flush ruleset\nadd table ip q\nadd chain ip q c\nadd rule ip q c accept\nadd element inet f nets { 5.5.5.5 }\n' > $D/bad.nft; try nft -f $D/bad.nft
printf 'delete table inet f\nadd rule ip nat out jump nosuch\n' > $D/bad.nft; try nft -f $D/bad.nft
printf 'flush chain inet f in\nadd chain inet f z\nadd rule inet f z jump z\n' > $D/bad.nft; try nft -f $D/bad.nft
nft list ruleset | diff $D/before - && echo as before
# Handles and places
nft add table ip h; nft add chain ip h c
for n in 1 2 3; do nft add rule ip h c tcp dport $n accept; done
nft insert rule ip h c tcp dport 9 drop; nft -a list table ip h
nft add rule ip h c position 3 tcp dport 33 accept; nft insert rule ip h c handle 3 tcp dport 32 accept; nft replace rule ip h c handle 2 tcp dport 22 drop; nft delete rule ip h c handle 4
nft -a list table ip h
nft rename chain ip h c d; nft list chains ip
nft 'add chain ip h base { type filter hook input priority 5; policy drop; }'; nft 'chain ip h base { policy accept; }'; nft list chain ip h base
nft 'table ip h { flags dormant; }'; nft list table ip h | head -2
nft delete chain ip h base; nft flush table ip h; nft list table ip h; nft delete table ip h
nft -j list tables | grep -o '"name": "[a-z]*"'
nft flush ruleset; nft list ruleset
