"""Starting sandboxes and talking to them."""

from typing import Final

WARM_DIRECTORY: Final = "@warm"  # below --root: sockets of who keeps sandboxes ready (warm.py); no container can be called so
