"""Defaults that the command line's help shows; imports nothing, since every call of an engine's comes by here."""

CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
