from .extraction import extract as extract
from .pooling import Pooling as Pooling
from .store import DamagedStoreError as DamagedStoreError
from .store import open_features as open_features
from .units import StrongCrop as StrongCrop
from .units import UnitAtlas as UnitAtlas
from .units import strongest_crops as strongest_crops
from .units import unit_atlas as unit_atlas
