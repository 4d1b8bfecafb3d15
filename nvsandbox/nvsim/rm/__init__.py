"""The simulated resource manager: objects, cards, memory, control commands.

Modelled on the public sources under ``src/nvidia`` (resserv for handles and trees, ``resource_list.h``
for parents, the control headers for parameters). It knows nothing of processes and descriptors:
the frontend hands it bytes and gets a status back.
"""
