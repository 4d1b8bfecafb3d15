# The same for IPv6, with a network less. Argument: ip6tables' name.
IPT=$1
D=$(mktemp -d)
trap 'rm -rf $D' EXIT
set -e
ip link set lo up 2>/dev/null || true
for n in a out; do ip netns add $n;  ip -n $n link set lo up; ip netns exec $n sh -c 'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad' 2>/dev/null || true; done
{ echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; } 2>/dev/null || true
ip link add va type veth peer name eth0 netns a;  ip link add wan type veth peer name eth0 netns out
ip addr add fd01::1/64 dev va nodad; ip link set va up;  ip addr add fd02::1/64 dev wan nodad; ip link set wan up
ip -n a addr add fd01::2/64 dev eth0 nodad; ip -n a link set eth0 up; ip -n a route add default via fd01::1
ip -n out addr add fd02::9/64 dev eth0 nodad; ip -n out link set eth0 up
sleep 3
ip netns exec a ping -c1 -W1 fd02::9 | grep transm | cut -d, -f1,2
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip netns exec a ping -c1 -W1 fd02::9 | grep transm | cut -d, -f1,2
$IPT -t nat -A POSTROUTING -s fd01::/64 -o wan -j MASQUERADE
$IPT -t nat -A PREROUTING -p tcp --dport 8000 -j DNAT --to-destination [fd01::2]:80
$IPT -t nat -A PREROUTING -i va -p tcp --dport 90 -j REDIRECT --to-ports 91
$IPT -A FORWARD -p tcp --dport 99 -j REJECT
$IPT -A FORWARD -p tcp --dport 98 -j REJECT --reject-with tcp-reset
$IPT -A INPUT -p ipv6-icmp --icmpv6-type echo-request -m hl --hl-gt 100 -j DROP
$IPT -A FORWARD -m multiport -p tcp --dports 100,200:300 -j DROP
ip netns exec a ping -c1 -W1 fd02::9 | grep transm | cut -d, -f1,2
cat > $D/srv6.py <<'P'
import socket,sys
s=socket.socket(socket.AF_INET6); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind(("::",int(sys.argv[1]))); s.listen()
while True:
    c,a=s.accept(); c.sendall(a[0].encode()+b" "+c.recv(100000)[:20]+b"\n"); c.close()
P
cat > $D/cli6.py <<'P'
import socket,sys
s=socket.socket(socket.AF_INET6); s.settimeout(2)
try:
    s.connect((sys.argv[1],int(sys.argv[2]))); s.sendall(b"hello"); print(s.recv(1000))
except OSError as e: print(e)
P
ip netns exec a python3 $D/srv6.py 80 & P1=$!
ip netns exec out python3 $D/srv6.py 81 & P2=$!
python3 $D/srv6.py 91 & P3=$!
sleep 1
ip netns exec a python3 $D/cli6.py fd02::9 81
ip netns exec out python3 $D/cli6.py fd02::1 8000
ip netns exec a python3 $D/cli6.py fd02::9 90
ip netns exec a python3 $D/cli6.py fd02::9 99
ip netns exec a python3 $D/cli6.py fd02::9 98
ip netns exec a python3 $D/cli6.py fd02::9 82
ip netns exec a python3 $D/cli6.py fd02::9 250
ip netns exec a traceroute -6 -n -q1 -w1 fd02::9 | sed 's/ms//;s/[0-9]*\.[0-9]* *$//'
ip netns exec a ping -c1 -W1 -s 3000 fd02::9 | grep transm | cut -d, -f1,2
ip netns exec a ping -c1 -W1 fd03::9 2>&1| grep -E 'nreach|oute|transm' | cut -d, -f1,2
kill $P1 $P2 $P3
$IPT-save | grep -v '^#' | sed 's/\[.*\]//'
