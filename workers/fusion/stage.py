"""The stage `fusion`: from the features of all models to one published result."""

from __future__ import annotations

import time

from model_weights.catalogue import ModelEntry, find_installed
from model_weights.policies import Policy, parse_policy
from shared.errors import Unanswerable
from shared.json_values import JsonObject
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.stages import MODELS, StageName
from workers.fusion.aggregates import compute_vector
from workers.fusion.answers import Answers, collect_answers
from workers.fusion.attribution import compute_attribution
from workers.fusion.booster import FusionBooster, load_booster
from workers.fusion.decision import decide
from workers.fusion.document import Reading
from workers.fusion.omission import compute_omissions
from workers.fusion.publishing import Publisher
from workers.runtime.stage import ANSWERED, Stage, StageContext, StageOutput


class Fusion:
    """Weighs what the models answered. The booster is loaded once and read only."""

    def __init__(self, entry: ModelEntry, booster: FusionBooster, publisher: Publisher) -> None:
        self._entry = entry
        self._booster = booster
        self._publisher = publisher

    @property
    def name(self) -> StageName:
        """This is the stage `fusion`."""
        return StageName.FUSION

    def run(self, context: StageContext) -> StageOutput:
        """Return result, manifest and reports. Raises Unanswerable when fewer models answered than the policy needs."""
        started = time.monotonic()
        policy = parse_policy(context.policy)
        reading = self._read(context, policy, started)
        row, artefacts = self._publisher.publish(context, reading)
        entry = self._entry
        facts: JsonObject = {
            "name": entry.name,
            "version": entry.version,
            "digest": entry.digest,
            "weights_profile": entry.weights_profile,
            ANSWERED: len(reading.answers.answered),
        }
        return StageOutput(rows=[row], artefacts=artefacts, facts=facts)

    def _read(self, context: StageContext, policy: Policy, started: float) -> Reading:
        records = context.fetch_records()
        answers = collect_answers(records, self._booster.choose_thresholds(policy.finding_thresholds))
        _require_enough(answers, policy)
        vector = compute_vector(answers.features)
        explanation = self._booster.explain(vector, policy.calibration)
        attribution = compute_attribution(explanation, vector)
        return Reading(
            job_id=context.job_id,
            records=records,
            artefacts=context.fetch_artefact_records(),
            answers=answers,
            attribution=attribution,
            decision=decide(explanation.probability, policy, answers, attribution.by_finding),
            omissions=compute_omissions(self._booster, answers, policy),
            policy=policy,
            model=self._entry,
            fusion_s=time.monotonic() - started,
            elapsed_s=context.fetch_elapsed_s(),
        )


class AbsentFusion:
    """Ends every job at once where no fusion is installed, so that none waits for ever."""

    @property
    def name(self) -> StageName:
        """This is the stage `fusion`."""
        return StageName.FUSION

    def run(self, context: StageContext) -> StageOutput:  # noqa: ARG002  # the contract of a stage
        """Raise Unanswerable."""
        raise Unanswerable(
            ProblemCode.NO_MODEL_ANSWERED,
            "No fusion model is installed, so nothing can weigh what the models answered.",
            stage=StageName.FUSION,
        )


def make_stage(settings: Settings) -> Stage:
    """Return the fusion, loaded and held to its known answers. Raises Defect when its files are not as pinned."""
    entry = find_installed(settings, StageName.FUSION)
    return AbsentFusion() if entry is None else Fusion(entry, load_booster(entry), Publisher(settings))


def _require_enough(answers: Answers, policy: Policy) -> None:
    if not policy.allows(answers.answered):
        needed = f"{policy.minimum_models}" if policy.allowed_subsets is None else "one of its sets of models"
        raise Unanswerable(
            ProblemCode.NO_MODEL_ANSWERED,
            f"{len(answers.answered)} of {len(MODELS)} models answered; policy {policy.id} needs {needed}.",
            answered=len(answers.answered),
            needed=policy.minimum_models,
            missing={str(missing.model): missing.reason for missing in answers.missing},
        )
