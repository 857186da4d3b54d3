"""Images without files: what grouping, geometry and choice look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workers.intake.choice.candidate import Candidate
from workers.intake.choice.ranking import rank
from workers.intake.dicom.header import Identity, Image, PixelLayout, Placement, Technique
from workers.intake.dicom.syntaxes import EXPLICIT_LITTLE, find_syntax
from workers.intake.stacks.stack import Stack

LAYOUT = PixelLayout(
    syntax=find_syntax(EXPLICIT_LITTLE),
    rows=512,
    columns=512,
    frames=1,
    bits_allocated=16,
    bits_stored=16,
    high_bit=15,
    is_signed=True,
    offset=1000,
    length=512 * 512 * 2,
)
TECHNIQUE = Technique(
    modality="CT",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    manufacturer="GE",
    kernel=("STANDARD",),
    filter_type="",
    body_part="CHEST",
    thickness_mm=1.25,
    kilovolts=120.0,
    acquisition=1,
    temporal_position=None,
    has_contrast=False,
    is_lossy=False,
    lossy_ratio=None,
    has_burned_in_text=False,
    rescale_type="HU",
    is_derived_view=False,
)
PLACEMENT = Placement(
    position_mm=(-150.0, -150.0, 0.0),
    row_direction=(1.0, 0.0, 0.0),
    column_direction=(0.0, 1.0, 0.0),
    spacing_yx_mm=(0.7, 0.7),
    slope=1.0,
    intercept=-1024.0,
    padding=None,
)


def make_image(
    z_mm: float = 0.0,
    *,
    series_uid: str = "1.1",
    instance_uid: str = "",
    xy_mm: tuple[float, float] = (-150.0, -150.0),
    placement: Placement = PLACEMENT,
    layout: PixelLayout = LAYOUT,
    **technique: object,
) -> Image:
    """Return an axial image at a height."""
    return Image(
        ordinal=0,
        frame=0,
        file_bytes=layout.offset + LAYOUT.frame_bytes,
        crc32=0,
        identity=Identity("1", series_uid, instance_uid, "1.9", b""),
        technique=replace(TECHNIQUE, **technique),  # type: ignore[arg-type]  # test data
        placement=replace(placement, position_mm=(*xy_mm, z_mm)),
        pixels=layout,
    )


def make_stack(slices: int = 240, spacing_mm: float = 1.25, *, series_uid: str = "1.1", **technique: object) -> Stack:
    """Return an even axial stack."""
    return Stack(
        tuple(make_image(index * spacing_mm, series_uid=series_uid, **technique) for index in range(slices))  # type: ignore[arg-type]  # test data
    )


def rank_stacks(*stacks: Stack) -> list[Candidate]:
    """Rank stacks without a limit of size."""
    return rank(stacks, volume_limit_bytes=1 << 40)


def heights(images: Sequence[Image]) -> list[float]:
    """Return the heights of images."""
    return [image.height_mm for image in images]
