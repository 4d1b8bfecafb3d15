# Rules of many kinds, one each: which are taken, and how they are listed then. Arguments: iptables' and ip6tables' names.
add() { $IPT "$@" >/dev/null 2>&1 || echo "no: $*"; }
zoo() {
	add -A INPUT -s $A -d $B -i lo -p tcp -m tcp --sport 1:5 --dport 6:7 --tcp-flags SYN,ACK,RST SYN -j ACCEPT
	add -A INPUT ! -s $A ! -i eth+ ! -p udp -j DROP
	add -A INPUT -p tcp --syn --tcp-option 8 -j DROP
	add -A INPUT -p udp ! --sport 5 -j RETURN
	add -A INPUT -p tcp -m multiport --sports 1,2,5:9 -j DROP
	add -A INPUT -p udp -m multiport ! --ports 53,123 -j DROP
	add -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT --ctproto tcp --ctorigdst $A --ctorigdstport 80:90 --ctdir ORIGINAL -j ACCEPT
	add -A INPUT -m conntrack --ctstatus ASSURED,CONFIRMED --ctexpire 1:100 -j ACCEPT
	add -A INPUT -m state --state NEW,INVALID -j DROP
	add -A OUTPUT -m owner --uid-owner 0-99 ! --gid-owner 5 -j ACCEPT
	add -A OUTPUT -m owner --socket-exists -j ACCEPT
	add -A INPUT -m addrtype --src-type UNICAST --dst-type LOCAL --limit-iface-in -j ACCEPT
	add -A INPUT -m mark --mark 0x10/0xf0 -j ACCEPT
	add -A INPUT -m connmark ! --mark 5 -j ACCEPT
	add -A INPUT -m limit --limit 5/minute --limit-burst 9 -j LOG --log-prefix "zoo: " --log-level debug --log-tcp-options
	add -A INPUT -m length --length 100:200 -j DROP
	add -A INPUT -m iprange --src-range $FROM-$UPTO -j DROP
	add -A INPUT -m statistic --mode random --probability 0.25 -j DROP
	add -A INPUT -m statistic --mode nth --every 3 --packet 1 -j DROP
	add -A INPUT -m dscp --dscp-class EF -j ACCEPT
	add -A INPUT -m tos --tos 0x10/0x3f -j ACCEPT
	add -A INPUT -m comment --comment "of nothing in particular" -j NFLOG --nflog-group 3 --nflog-prefix "n"
	add -A INPUT -m recent --name seen --set -j ACCEPT; add -A INPUT -m recent --name seen --update --seconds 60 --hitcount 4 --rttl -j DROP; add -A INPUT -m recent --name seen ! --rcheck --rdest -j DROP; add -A INPUT -m recent --name seen --remove
	add -A INPUT -m pkttype --pkt-type broadcast -j DROP; add -A INPUT -p tcp --syn -m tcpmss ! --mss 500:1500 -j DROP
	add -A INPUT -m nosuchmatch -j DROP
	add -A INPUT -j NOSUCHTARGET
	add -A FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu
	add -A FORWARD -p tcp -m tcp --tcp-flags SYN SYN -j TCPMSS --set-mss 1200
	add -A FORWARD -j TCPMSS --set-mss 1200
	add -N sub; add -A sub -j RETURN; add -A FORWARD -g sub; add -A FORWARD -p tcp -j sub
	add -A sub -j sub
	add -N other; add -A sub -j other; add -A other -j sub
	add -P FORWARD DROP; add -P sub DROP; add -X sub; add -E other another
	add -A INPUT -p tcp -j REJECT --reject-with tcp-reset
	add -A INPUT -j REJECT --reject-with tcp-reset
	add -A INPUT -j REJECT
	add -t nat -A INPUT -j REJECT
	add -t mangle -A PREROUTING -j MARK --set-mark 5
	add -t mangle -A PREROUTING -j MARK --set-xmark 0x1/0xff
	add -t mangle -A PREROUTING -j MARK --or-mark 0x4
	add -t mangle -A PREROUTING -j CONNMARK --save-mark --mask 0xff
	add -t mangle -A PREROUTING -j CONNMARK --restore-mark
	add -t mangle -A POSTROUTING -j DSCP --set-dscp 10
	add -t mangle -A POSTROUTING -j TOS --set-tos 0x10
	add -t mangle -A POSTROUTING -p udp -j CHECKSUM --checksum-fill
	add -t raw -A PREROUTING -j CT --notrack
	add -t nat -A PREROUTING -p tcp -j DNAT --to-destination $TO:80-90
	add -t nat -A PREROUTING -j DNAT --to-destination $FROM-$UPTO --persistent
	add -t nat -A POSTROUTING -p tcp -j SNAT --to-source $FROM-$UPTO --random
	add -t nat -A POSTROUTING -j SNAT --to-source $FROM
	add -t nat -A POSTROUTING -p udp -j MASQUERADE --to-ports 1000-2000 --random
	add -t nat -A POSTROUTING -o eth0 -j MASQUERADE
	add -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 1000-1010
	add -t nat -A OUTPUT -j REDIRECT
	add -t nat -A POSTROUTING -j REDIRECT
	add -t nat -A PREROUTING -j MASQUERADE
	add -A INPUT -j MASQUERADE
	add -t nosuch -A INPUT -j ACCEPT
	add -I INPUT 2 -p 99 -j ACCEPT; add -R INPUT 1 -p 98 -j ACCEPT; add -D INPUT 3; add -D INPUT -m mark --mark 0x10/0xf0 -j ACCEPT; add -D INPUT -p 77 -j DROP
	add -Z INPUT; add -C INPUT -p 98 -j ACCEPT; add -C INPUT -p 97 -j ACCEPT
	$IPT-save | grep -v '^#' | sed 's/\[.*\]//'
	for t in filter nat mangle raw; do $IPT -t $t -S; $IPT -t $t -F; $IPT -t $t -X; done
	$IPT-save | grep -v '^#' | sed 's/\[.*\]//'
}
IPT=$1 A=10.0.0.0/8 B=10.1.2.3 TO=10.0.0.9 FROM=10.0.0.1 UPTO=10.0.0.5
add -A INPUT -p icmp --icmp-type destination-unreachable -j DROP; add -A INPUT -p icmp ! --icmp-type 8 -j DROP; add -A INPUT -f -j DROP; add -A INPUT -m ttl --ttl-lt 5 -j DROP
add -t mangle -A PREROUTING -j TTL --ttl-inc 1
zoo
IPT=$2 A=fd00::/8 B=fd00::7 TO=[fd00::9] FROM=fd00::1 UPTO=fd00::5
add -A INPUT -p ipv6-icmp --icmpv6-type neighbour-solicitation -j ACCEPT; add -A INPUT -m hl --hl-gt 64 -j DROP; add -A INPUT -m rt --rt-type 0 -j DROP; add -A INPUT -m rt ! --rt-type 2 --rt-segsleft 1:2 -j DROP; add -t mangle -A PREROUTING -j HL --hl-set 9
zoo
