"""Domain adaptation: what is learnt on one domain, used on another.

Methods without target labels (``fit(X_source, X_target)``) give features of both domains,
``transform_source`` and ``transform_target``; methods with some target labels
(``fit(X_source, y_source, X_target, y_target)``) are classifiers of target samples.
"""

from analysis.transfer.adaptation.alignment import CorrelationAlignment, SubspaceAlignment
from analysis.transfer.adaptation.augmentation import FeatureAugmentation
from analysis.transfer.adaptation.geodesic_flow import GeodesicFlowKernel
from analysis.transfer.adaptation.max_margin import MaxMarginDomainTransform

__all__ = [
    "CorrelationAlignment",
    "FeatureAugmentation",
    "GeodesicFlowKernel",
    "MaxMarginDomainTransform",
    "SubspaceAlignment",
]
