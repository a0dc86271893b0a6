"""`tools/notebooks/check.py` puts this beside a copied chapter as conftest.py: nbval's kernel gets
sockets of its own.

They are files in a folder that no other kernel uses. Two kernels that start at the same moment can
pick the same port, and then one never answers.
"""

import tempfile

import nbval.kernel
from traitlets import default

_sockets = tempfile.TemporaryDirectory()  # removed when pytest ends


class KernelManager(nbval.kernel.KernelManager):
    """Talks to its kernel through files, not ports."""

    @default("transport")
    def _own_transport(self) -> str:
        return "ipc"

    @default("ip")
    def _own_folder(self) -> str:
        return f"{_sockets.name}/kernel"


nbval.kernel.KernelManager = KernelManager
