"""A yard that is reached through its HTTP API: the same client, for a machine without the database's and broker's
addresses. `service.client.Client` is one of these where TRAINYARD_URL is set."""

from __future__ import annotations

from service.remote.acting import RemoteActing
from service.remote.following import RemoteFollowing
from service.remote.submitting import RemoteSubmitting
from service.remote.watching import RemoteWatching


class RemoteClient(RemoteSubmitting, RemoteFollowing, RemoteActing, RemoteWatching):
    """What the API cannot do raises NotRemote when it asks for the database."""
