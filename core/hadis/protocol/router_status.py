"""What a router says of itself: the document of `GET /v1/hadis/status`, for its page, the commands and `hadis up`.

Who writes it may put nothing else in; who reads it leaves out what a router of another version says besides.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hadis.api.status import PlanChange
from hadis.planning.plan import Plan
from hadis.planning.watched_quality import WatchSums, live_quality, named_sums

Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Latency(_Part):
    """Latencies of the last minute's images, failures included."""

    p50_s: float | None = Field(description="The median, seconds; null without any.")
    p95_s: float | None = Field(description="The 95th percentile, seconds.")


class Thresholds(_Part):
    """The thresholds in force."""

    difficulty: float | None = Field(description="Prompts above it go straight to the heavy tier; null: none do.")
    confidence: float | None = Field(description="Light images below it are made again; null: none are.")


class DifficultyScore(_Part):
    """How prompts are scored."""

    reads: Literal["features", "ngrams"] = Field(
        description="What is read of a prompt: its text features alone, or its n-grams as well."
    )
    why: str | None = Field(
        description="Why n-grams of the profile are not read, and what to do; null: nothing is amiss."
    )


class TierTimes(_Part):
    """What a tier's batches take."""

    time_ratio: float = Field(description="Times as long as the profile says, at the batch size farthest from it.")
    stale: bool = Field(description="Whether the profile is out of date for it.")


class WorkerState(_Part):
    """A worker that is ready."""

    name: str = Field(description="Its name, short, and the same in every process.")
    tiers: tuple[str, ...] = Field(description="The tiers that it has resident.")
    busy: bool = Field(description="Whether it runs a batch.")
    tier: str | None = Field(description="The tier of that batch.")
    time_ratio: float = Field(description="Times as long as its peers take for a batch.")
    slow: bool = Field(description="Whether that is too long.")


class ClientUse(_Part):
    """What one client asks for."""

    client: str = Field(description="Its key; users and addresses as digests.")
    weight: float = Field(description="Weight of its fair share.")
    gpus: float = Field(description="GPUs that it would take to serve all that it asks for.")


class Clients(_Part):
    """Who asks."""

    active: Count = Field(description="Clients that asked for something within the last minute.")
    busiest: tuple[ClientUse, ...] = Field(description="Those that ask for most.")


class WatchedQuality(_Part):
    """Answers that were judged lately beside the heavy tier's images; each value is a mean confidence, 0 to 1."""

    summary: str = Field(description="What is seen, in words.")
    images: Count = Field(description="Answers that were judged.")
    mean: float | None = Field(description="Of the answers; null without any.")
    low: float | None = Field(description="Lower end of its 99% interval.")
    high: float | None = Field(description="Upper end.")
    predicted_low: float | None = Field(description="Lower end of what the profile predicts.")
    predicted_high: float | None = Field(description="Upper end.")
    heavy_low: float | None = Field(description="Of the heavy tier's images: lower end of the 99% interval.")
    heavy_high: float | None = Field(description="Upper end.")
    gpu_s: float = Field(description="GPU seconds that judging took since the start; they are not counted as demand.")
    sums: dict[str, float] = Field(description="What the control step reads.")


def watched_quality(sums: WatchSums, gpu_s: float) -> WatchedQuality:
    """Return what sums say; `gpu_s` are the GPU seconds that they took."""
    live = live_quality(sums)
    return WatchedQuality(
        summary="no answer was judged yet" if live is None else str(live),
        images=0 if live is None else live.images,
        mean=live and live.mean,
        low=live and live.interval.low,
        high=live and live.interval.high,
        predicted_low=live and live.predicted.low,
        predicted_high=live and live.predicted.high,
        heavy_low=live and live.heavy.low,
        heavy_high=live and live.heavy.high,
        gpu_s=gpu_s,
        sums=named_sums(sums),
    )


class RouterStatus(_Part):
    """The plan, what waits, who works, and how the objective is kept. By tier where a field is a map of them."""

    slo_s: float = Field(description="The latency objective, seconds.")
    attainment_objective: float = Field(description="Share of the requests that must meet it.")
    attainment: float | None = Field(
        description="Share of the last minute's images that met it, refused and failed ones included; null without any."
    )
    latency: Latency = Field(description="Latencies of the last minute's images, failures included.")
    arrivals_total: Count = Field(description="Images requested.")
    arrivals_by_size: dict[str, Count] = Field(description="The same, by image size as requests name it.")
    restricted_arrivals: dict[str, Count] = Field(
        description="Of them, those that only some tiers may make, by those tiers."
    )
    observed_rps: float = Field(description="Requests per second that came lately, as the control step reads them.")
    forecast_rps: float = Field(description="Requests per second to have GPUs for.")
    idle: str | None = Field(description="Why there is no worker, while that is for want of requests; null otherwise.")
    idle_s: float | None = Field(description="Seconds since the last request or answer; null: none since the start.")
    held: Count = Field(description="Jobs that wait for a first worker.")
    plan: Plan | None = Field(description="The plan in force, as in the status of a DiffusionService.")
    money_per_hour: float | None = Field(description="Of the GPUs that are ready; null without a price.")
    plan_gpu_s: float | None = Field(description="GPU seconds per image that the plan takes.")
    thresholds: Thresholds = Field(description="Thresholds that keep the plan's ratios.")
    difficulty: DifficultyScore = Field(description="How prompts are scored by the profile in force.")
    queues: dict[str, Count] = Field(description="Jobs that wait.")
    queued_s: dict[str, float] = Field(description="GPU seconds of what waits.")
    batch_time_ratios: dict[str, dict[int, float]] = Field(
        description="By tier and batch size: what batches took, divided by what the profile says."
    )
    tiers: dict[str, TierTimes] = Field(description="Of each tier that ran: how long its batches take.")
    workers: tuple[WorkerState, ...] = Field(description="Workers that are ready.")
    clients: Clients = Field(description="Who asks for most.")
    answers: dict[str, Count] = Field(description="Images answered, by the path that they took.")
    unanswered: dict[str, dict[str, Count]] = Field(description="The others, by outcome and reason.")
    ended_rps: dict[str, dict[str, float]] = Field(
        description="Images per second that ended in the last minute, by outcome, and by path or reason."
    )
    changes: tuple[PlanChange, ...] = Field(description="The last changes of plan.")
    quality: WatchedQuality | None = Field(None, description="Of the answers in service, with `qualityWatch`.")

    @classmethod
    def read(cls, content: str | bytes) -> Self:
        """Return the status in a router's answer; raise ValueError, one line, for a document of another form."""
        try:
            return cls.model_validate_json(content, extra="ignore")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "(document)"
            raise ValueError(f"this is no router's status: {where}: {first['msg']}") from None

    def json_text(self) -> str:
        """Return the document."""
        return self.model_dump_json(by_alias=True)
