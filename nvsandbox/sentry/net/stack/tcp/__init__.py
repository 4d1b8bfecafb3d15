"""The Transmission Control Protocol (RFC 9293)."""
