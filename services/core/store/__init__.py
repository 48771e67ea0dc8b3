"""The store: desired state, operations, claims. The only package that knows SQLAlchemy."""

from services.core.store.engine import Store
from services.core.store.transaction import Transaction

__all__ = ["Store", "Transaction"]
