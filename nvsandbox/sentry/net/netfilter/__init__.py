"""Packet filtering, connection tracking and address translation of a network namespace (Linux: net/netfilter).

The engine (``skb``, ``rules``, ``conntrack``, ``nat``, ``hooks``) knows neither system calls nor the tools' formats; ``legacy`` speaks
iptables' socket options, ``nft_*`` netlink. Like the stack it does no I/O and runs on the Sentry's one thread.
"""
