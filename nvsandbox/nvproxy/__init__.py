"""nvproxy: the layer of the Sentry that understands NVIDIA's driver interface and forwards what it has validated.

``abi`` is the database of releases, ``policy`` who may do what, ``plan`` both compiled for one release, ``engine`` and the
modules beside it the forwarding itself, ``inject`` what the launcher adds to a sandbox that gets GPUs.
"""

from ..compiled import prefer

prefer(__name__, __path__)
