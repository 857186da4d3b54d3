"""The whole healthy chest: measured first, painted after, in the order in which organs cover each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from phantom.anatomy.abdomen import paint_abdomen
from phantom.anatomy.airways import make_airways, paint_airways
from phantom.anatomy.great_vessels import (
    make_aorta,
    make_branches,
    make_caval_veins,
    make_pulmonary_arteries,
    make_pulmonary_veins,
    paint_great_vessels,
)
from phantom.anatomy.heart import Heart, make_heart, paint_heart
from phantom.anatomy.lungs import Lungs, measure_lungs, paint_lungs
from phantom.anatomy.plan import BodyPlan
from phantom.anatomy.skeleton import Spine, measure_spine, paint_ribs, paint_shoulders, paint_spine
from phantom.anatomy.trunk import Trunk, measure_trunk, paint_cavity, paint_table, paint_trunk
from phantom.anatomy.vessel_tree import Twig, paint_tree
from phantom.canvas import Canvas
from phantom.fields import make_generator
from phantom.shapes import Tube


class Concern(IntEnum):
    """What has random numbers of its own, so that a change of one leaves the others as they were."""

    PLAN = 0
    TRUNK = 1
    MUSCLE = 2
    LUNGS = 3
    VESSELS = 4
    ABDOMEN = 5
    SCANNER = 6
    NOISE = 7
    FINDINGS = 8
    GEOMETRY = 9
    IDENTITY = 10
    DISTRACTORS = 11
    GANTRY = 12


@dataclass(frozen=True)
class Chest:
    """What findings need to know of the chest that they are put into."""

    plan: BodyPlan
    trunk: Trunk
    spine: Spine
    heart: Heart
    aorta: Tube
    lungs: Lungs


def measure_chest(canvas: Canvas, plan: BodyPlan, seed: int) -> Chest:
    """Compute the surfaces of the organs that bound each other."""
    trunk = measure_trunk(canvas, plan, make_generator(seed, Concern.TRUNK))
    spine = measure_spine(canvas, plan)
    heart, aorta = make_heart(plan), make_aorta(plan)
    tubes = [aorta, *make_branches(plan).values(), *make_caval_veins(plan).values()]
    tubes += [*make_pulmonary_arteries(plan).values(), *make_pulmonary_veins(plan), *make_airways(plan)[:3]]
    lungs = measure_lungs(canvas, plan, trunk, spine=spine, heart=heart, tubes=tubes)
    return Chest(plan, trunk, spine, heart, aorta, lungs)


def paint_chest(canvas: Canvas, chest: Chest, twigs: list[Twig], seed: int) -> None:
    """Paint everything, from the table to the bronchi."""
    plan = chest.plan
    paint_table(canvas, plan)
    paint_trunk(canvas, plan, chest.trunk, make_generator(seed, Concern.MUSCLE))
    paint_shoulders(canvas, plan)
    paint_cavity(canvas, plan, chest.trunk)
    paint_ribs(canvas, plan, chest.trunk)
    paint_abdomen(canvas, plan, chest.trunk, make_generator(seed, Concern.ABDOMEN))
    paint_spine(canvas, plan, chest.spine)
    paint_lungs(canvas, plan, chest.lungs, make_generator(seed, Concern.LUNGS))
    paint_tree(canvas, chest.lungs.box, twigs, plan.blood_hu)
    paint_heart(canvas, plan, chest.heart, chest.trunk)
    paint_great_vessels(canvas, plan, chest.aorta)
    paint_airways(canvas, plan)
