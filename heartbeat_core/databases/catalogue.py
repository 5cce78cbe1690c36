"""Every published database, by name.

To add a database to this package, write a module like its neighbours here and list its object in ``DATABASES``. Another
package can add one with the entry point group ``heartbeat.databases`` (see ``registry``).
"""

from __future__ import annotations

from heartbeat_core.databases.cinc2016 import CINC2016
from heartbeat_core.databases.circor import CIRCOR
from heartbeat_core.databases.database import Database
from heartbeat_core.databases.pascal import PASCAL
from heartbeat_core.registry import Registry

DATABASES: Registry[Database] = Registry("database", "heartbeat.databases", (CIRCOR, CINC2016, PASCAL))
