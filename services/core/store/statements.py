"""The statements that every change needs, built once: to build one costs more than to execute it.

`this` is what the row is found by; the columns to write are the other parameters.
"""

from __future__ import annotations

from sqlalchemy import BindParameter, bindparam, delete, insert, select, update

from services.core.store.rows import RESOURCE_COLUMNS
from services.core.store.tables import claims, operations, requests, resources

_THIS: BindParameter[str] = bindparam("this")

FIND = select(*RESOURCE_COLUMNS).where(
    resources.c.kind == bindparam("kind"), resources.c.parent == bindparam("parent"), resources.c.key == bindparam("key")
)
FIND_LOCKED = FIND.with_for_update()
OCCUPIED_BY = select(*RESOURCE_COLUMNS).where(resources.c.operation == _THIS).order_by(resources.c.kind, resources.c.key)
BUSY_WITH = select(resources.c.operation).where(resources.c.name == _THIS)
INSERT_RESOURCE = insert(resources)
SAVE_RESOURCE = update(resources).where(resources.c.name == _THIS)

OPERATION = select(operations).where(operations.c.id == _THIS)
INSERT_OPERATION = insert(operations)
SAVE_OPERATION = update(operations).where(operations.c.id == _THIS)

REQUEST = select(requests).where(requests.c.request_id == _THIS, requests.c.expires > bindparam("now"))
INSERT_REQUEST = insert(requests)
DROP_REQUEST = delete(requests).where(requests.c.request_id == _THIS)

CLAIM = select(claims).where(claims.c.kind == bindparam("kind"), claims.c.value == bindparam("value"))
INSERT_CLAIM = insert(claims)
