"""What models found, in forms that viewers open: NIfTI, DICOM and pictures. Nothing here knows a network."""

from workers.renderings.anomaly import make_anomaly_renderings
from workers.renderings.maker import Maker
from workers.renderings.masks import make_mask_renderings
from workers.renderings.study import RenderedStudy, fetch_source

__all__ = ["Maker", "RenderedStudy", "fetch_source", "make_anomaly_renderings", "make_mask_renderings"]
