"""What must hold in every reachable state, one small class each."""

from kpatch.verify.machine.properties.base import Property, Seen
from kpatch.verify.machine.properties.catalog import CATALOG, named

__all__ = ["CATALOG", "Property", "Seen", "named"]
