# conntrack(8): what it lists of connections, and that it takes them away.
show() { conntrack "$@" 2>&1 | sed -E 's/ +[0-9]+ (src|ESTAB|SYN|TIME|CLOSE)/ \1/; s/(sport|dport)=[0-9]{4,}/\1=N/g; s/ id=[0-9]+/ id=N/g; s/ use=[0-9]+//; s/\(conntrack-tools\): //; s/^conntrack v[0-9.]+ *//' | sort; }
iptables-legacy -A INPUT -m conntrack --ctstate NEW -j ACCEPT
iptables-legacy -t nat -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 5
iptables-legacy -t mangle -A OUTPUT -p tcp -j CONNMARK --set-mark 7
ip6tables-legacy -A INPUT -m conntrack --ctstate NEW -j ACCEPT
python3 - <<'P' &
import socket, time
l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("127.0.0.1", 80)); l.listen()
c = socket.create_connection(("127.0.0.1", 80)); a = l.accept()[0]; c.send(b"x"); a.recv(1); a.send(b"y"); c.recv(1)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 5))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.connect(("127.0.0.1", 53)); v.send(b"x"); d, w = u.recvfrom(9); u.sendto(b"y", w); v.recv(1)
n = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); m = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); m.bind(("127.0.0.1", 7)); n.sendto(b"x", ("127.0.0.1", 7))
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); t = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); t.bind(("::1", 7)); s.sendto(b"x", ("::1", 7))
time.sleep(15)
P
sleep 3
ping -c1 -W1 127.0.0.1 >/dev/null
show -L; show -L -f ipv6; show -C
show -L -p udp --dst 127.0.0.1; show -L -p tcp --state ESTABLISHED
show -D -p udp --dport 7; show -D -p tcp --dport 999
show -L -p udp
show -F; show -L; show -L -f ipv6; show -C
kill %1
