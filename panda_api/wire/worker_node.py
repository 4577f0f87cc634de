"""What pilots say of the node they run on (wire-protocol.md 4.1), as far as it has to be there."""

from panda_api.wire.fields import Name, WireModel


class WorkerNode(WireModel):
    """A node; the other facts are not read."""

    site: Name
    host_name: Name
