"""A yard as programs see it. The command line, the web page and notebooks use this and nothing below it.

Every method is one transaction or a few; records that come back are frozen.
"""

from __future__ import annotations

from service.client.acting import Acting
from service.client.following import Following
from service.client.granting import Granting
from service.client.keeping import Keeping
from service.client.moving import Moving
from service.client.submitting import Submitting
from service.client.using import Using
from service.client.watching import Watching


class Client(Submitting, Following, Acting, Keeping, Using, Moving, Granting, Watching):
    """One yard: submit specs, follow runs, ask the history, scale the pool. `with Client() as client:` closes it.

    `notify` gets sentences for a person that are no errors, such as "no worker serves this queue".
    """
