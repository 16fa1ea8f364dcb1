"""Kubernetes quantities (`500m`, `1Gi`) as exact numbers."""

from decimal import Decimal

from kubernetes.utils import parse_quantity


def quantity(text: object) -> Decimal:
    """The number that a quantity stands for, in its base unit (cores, bytes). Raises ValueError."""
    return Decimal(parse_quantity(text))
