"""The TCP/IP stack of ``--network=sandbox``, sans-io: frames and the time go in, frames come out (docs/network.md).

It opens nothing, waits for nothing and knows nothing of the kernel around it. ``stack.Stack`` is the way in.
Addresses are bytes, 4 for IPv4 and 16 for IPv6; times are nanoseconds of the monotonic clock.
"""
