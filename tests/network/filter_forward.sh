# A bridge of containers, a router behind it and one more: what passes without and with forwarding, translation and rules. Argument: iptables' name.
IPT=$1
D=$(mktemp -d)
trap 'rm -rf $D' EXIT
set -e
ip link set lo up 2>/dev/null || true
ip netns add a; ip netns add b
ip link add br0 type bridge
ip addr add 10.5.0.1/24 dev br0; ip link set br0 up
for n in a b; do
 ip link add v$n type veth peer name eth0 netns $n
 ip link set v$n master br0; ip link set v$n up
 ip -n $n link set lo up
done
ip -n a addr add 10.5.0.2/24 dev eth0; ip -n a link set eth0 up; ip -n a route add default via 10.5.0.1
ip -n b addr add 10.5.0.3/24 dev eth0; ip -n b link set eth0 up; ip -n b route add default via 10.5.0.1
# the outside
ip netns add out
ip link add wan type veth peer name eth0 netns out
ip addr add 192.0.2.1/24 dev wan; ip link set wan up
ip -n out link set lo up; ip -n out addr add 192.0.2.9/24 dev eth0; ip -n out link set eth0 up
# one router further
ip netns add far
ip -n out link add eth1 type veth peer name eth0 netns far
ip -n out addr add 198.51.100.1/24 dev eth1; ip -n out link set eth1 up
ip -n far link set lo up; ip -n far addr add 198.51.100.9/24 dev eth0; ip -n far link set eth0 up; ip -n far route add default via 198.51.100.1
ip netns exec out sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
ip route add 198.51.100.0/24 via 192.0.2.9
sleep 1
echo "no forwarding"; ip netns exec a ping -c1 -W1 192.0.2.9 | grep transmitted | cut -d, -f1,2
echo 1 > /proc/sys/net/ipv4/ip_forward
echo "forwarding, no masquerade"; ip netns exec a ping -c1 -W1 192.0.2.9 | grep transmitted| cut -d, -f1,2 
$IPT -t nat -A POSTROUTING -s 10.5.0.0/24 ! -o br0 -j MASQUERADE
$IPT -t nat -A PREROUTING -p tcp --dport 8000 -j DNAT --to-destination 10.5.0.3:80
$IPT -t nat -A OUTPUT -d 192.0.2.1 -p tcp --dport 8000 -j DNAT --to-destination 10.5.0.3:80
$IPT -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$IPT -A FORWARD -i br0 -j ACCEPT
$IPT -A FORWARD -p tcp -d 10.5.0.3 --dport 80 -j ACCEPT
$IPT -P FORWARD DROP
ip netns exec a ping -c1 -W1 192.0.2.9 | grep transmitted| cut -d, -f1,2
ip netns exec a ping -c1 -W1 198.51.100.9 | grep transmitted| cut -d, -f1,2
ip netns exec a ping -c1 -W1 10.5.0.3 | grep transmitted| cut -d, -f1,2
ip netns exec out ping -c1 -W1 10.5.0.2 2>&1 | grep -E 'transmitted|unreach' | cut -d, -f1,2
cat > $D/srv.py <<'P'
import socket,sys
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind(("0.0.0.0",int(sys.argv[1]))); s.listen()
while True:
    c,a=s.accept(); c.sendall(a[0].encode()+b" "+c.recv(100000)[:20]+b"\n"); 
    n=0
    while True:
        d=c.recv(1<<20)
        if not d: break
        n+=len(d)
    c.sendall(str(n).encode()); c.close()
P
cat > $D/cli.py <<'P'
import socket,sys
s=socket.socket(); s.settimeout(10)
try:
    s.connect((sys.argv[1],int(sys.argv[2]))); s.sendall(b"hello"); print(s.recv(1000)); s.sendall(bytes(3000000)); s.shutdown(1); print(s.recv(100))
except OSError as e: print(e)
P
ip netns exec b python3 $D/srv.py 80 & P1=$!
ip netns exec out python3 $D/srv.py 81 & P2=$!
ip netns exec far python3 $D/srv.py 81 & P3=$!
sleep 1
ip netns exec a python3 $D/cli.py 192.0.2.9 81
ip netns exec a python3 $D/cli.py 198.51.100.9 81
ip netns exec out python3 $D/cli.py 192.0.2.1 8000
python3 $D/cli.py 192.0.2.1 8000
python3 $D/cli.py 10.5.0.3 80
ip netns exec a python3 $D/cli.py 192.0.2.9 82
ip netns exec a traceroute -n -q1 -w1 198.51.100.9 | sed 's/ms//;s/[0-9]*\.[0-9]* *$//'
ip netns exec a traceroute -I -n -q1 -w1 198.51.100.9 | sed 's/ms//;s/[0-9]*\.[0-9]* *$//'
ip netns exec a traceroute -T -n -q1 -w1 -p 81 198.51.100.9 | sed 's/ms//;s/[0-9]*\.[0-9]* *$//'
ip -n out link set eth1 mtu 1000 ; ip -n far link set eth0 mtu 1000
ip netns exec a ping -c1 -W1 -M do -s 1200 198.51.100.9 | grep -E 'Frag|transm' | cut -d, -f1,2
ip netns exec a ping -c1 -W1 -M dont -s 1200 198.51.100.9 | grep -E 'Frag|transm' | cut -d, -f1,2
ip netns exec a python3 $D/cli.py 198.51.100.9 81
ip netns exec a ping -c1 -W1 203.0.113.1 2>&1| grep -E 'nreach|transm' | cut -d, -f1,2
ip link set wan down; ip link set wan name uplink; ip link set uplink up; ip route replace 198.51.100.0/24 via 192.0.2.9
$IPT -I FORWARD -o wan -j DROP; ip netns exec a ping -c1 -W1 192.0.2.9 | grep transmitted | cut -d, -f1,2
$IPT -I FORWARD -o uplink -j REJECT --reject-with icmp-admin-prohibited; ip netns exec a ping -c1 -W1 192.0.2.9 2>&1 | grep -E 'iltered|transm' | cut -d, -f1,2
kill $P1 $P2 $P3
$IPT-save | grep -v '^#' | sed 's/\[.*\]//'
