"""Numbers of Linux's TCP (linux/tcp_states.h, linux/tcp.h, net/tcp.h)."""

from __future__ import annotations

from typing import Final

ESTABLISHED: Final = 1
SYN_SENT: Final = 2
SYN_RECV: Final = 3
FIN_WAIT1: Final = 4
FIN_WAIT2: Final = 5
TIME_WAIT: Final = 6
CLOSE: Final = 7
CLOSE_WAIT: Final = 8
LAST_ACK: Final = 9
LISTEN: Final = 10
CLOSING: Final = 11

CA_OPEN: Final = 0
CA_RECOVERY: Final = 3
CA_LOSS: Final = 4
# F-RTO: not under way, the first segment was sent again, new data was sent
FRTO_OFF: Final = 0
FRTO_HEAD: Final = 1
FRTO_NEW: Final = 2

MS: Final = 1_000_000
S: Final = 1_000_000_000
RTO_MIN: Final = 200 * MS
RTO_MAX: Final = 120 * S
RTO_INITIAL: Final = S  # RFC 6298 section 2.1
DELACK: Final = 40 * MS
DELACK_MAX: Final = 200 * MS
TIME_WAIT_LEN: Final = 60 * S
FIN_TIMEOUT: Final = 60 * S
RETRIES: Final = 15  # net.ipv4.tcp_retries2
ORPHAN_RETRIES: Final = 8
SYN_RETRIES: Final = 6
SYNACK_RETRIES: Final = 5
MIN_MSS: Final = 48
DEFAULT_MSS: Final = 536
WSCALE: Final = 7
RCVBUF_INITIAL: Final = 65535
RCVBUF_MAX: Final = 6 << 20
SNDBUF_INITIAL: Final = 87040
SNDBUF_MAX: Final = 4 << 20
PAWS_AGE: Final = 24 * 86400 * S
INFINITE: Final = 0x7FFFFFFF
INVALID_RATELIMIT: Final = 500 * MS
MOST_SENT: Final = (
    8192  # elements of a retransmission queue, which each SACK walks (CVE-2019-11478)
)
