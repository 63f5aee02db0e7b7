"""The errors of requests that could not be served; those that ask to try again later get their Retry-After here alone.

The seconds are either fixed, by how soon the cause usually passes, or computed from the work that waits.
"""

from __future__ import annotations

import math

from hadis_router.dispatch.answer import ServeError

IMAGES_HELD_S = 2
"""What is held is given back with each answer."""
STOPPING_S = 1
"""Another replica, or this one's successor, can take it."""
NO_WORKER_S = 2
"""The control step of the operator runs every few seconds."""
WORKERS_FAILED_S = 2
"""A worker that failed is left alone for at least half a second; others may be ready before."""
LISTENERS_S = 10
"""Pages are closed seldom."""
STORE_S = 5
"""Such stores are restarted within seconds."""
JOBS_S = 10
"""A job ends within the latency objective."""
CONNECTIONS_S = 5
"""Connections that do nothing are closed within some ten seconds."""
IN_FLIGHT_S = 1
"""Images take seconds."""
_LONGEST_S = 60
"""OpenAI's official client does not wait for longer when it is told to."""


def stopping() -> ServeError:
    """Return the refusal of a router that was told to stop."""
    return ServeError(503, "stopping", "this router is stopping; try again", STOPPING_S)


def no_owner() -> ServeError:
    """Return the refusal of a request that routers send in circles: they will agree when they see the same list."""
    return ServeError(503, "no_owner", "the routers do not agree on who serves; try again", STOPPING_S)


def router_away() -> ServeError:
    """Return the error where the router does not answer that alone has an image, a job or a stream."""
    return ServeError(503, "router_away", "the router that has this does not answer; try again", STOPPING_S)


def no_worker() -> ServeError:
    """Return the refusal while there is no plan, or no worker at all."""
    return ServeError(503, "no_workers", "no worker is ready yet; try again soon", NO_WORKER_S)


def starting(left_s: float) -> ServeError:
    """Return the refusal of who would wait too long for the first worker, which is ready in about `left_s` seconds."""
    seconds = _whole_seconds(left_s)
    message = f"no request came for long, so no worker runs; the first is ready in about {seconds} s: try again then"
    return ServeError(503, "starting", message, min(_LONGEST_S, seconds))


def no_worker_with(tier: str) -> ServeError:
    """Return the refusal while no worker has a tier resident."""
    return ServeError(503, "no_workers", f"no worker has the tier {tier!r}; try again soon", NO_WORKER_S)


def queue_full(waiting: int, drain_s: float) -> ServeError:
    """Return the refusal of a full queue: try again when all that waits is made, in `drain_s` seconds."""
    return ServeError(429, "queue_full", f"the queue is full, with {waiting} waiting", _whole_seconds(drain_s))


def images_held() -> ServeError:
    """Return the refusal of a body with images for which there is no room beside the others."""
    return ServeError(429, "queue_full", "the images of other requests fill the memory; try again", IMAGES_HELD_S)


def too_late(late_s: float) -> ServeError:
    """Return the refusal of a job whose image would come `late_s` seconds after its deadline."""
    return ServeError(429, "too_late", "the queue is too long to answer in time", _whole_seconds(late_s))


def over_share(free_s: float) -> ServeError:
    """Return the refusal of a client that has its share: what it asked for beyond it is worked off in `free_s`."""
    message = "your share of the service is in use, and others want theirs; send less, or later"
    return ServeError(429, "over_share", message, min(_LONGEST_S, _whole_seconds(free_s)))


def too_many_requests(per_minute: int, wait_s: float) -> ServeError:
    """Return the refusal of a client that asks more often than it may; in `wait_s` it may ask once."""
    message = f"your limit of requests per minute is {per_minute}; x-ratelimit-remaining-requests says what is left"
    return ServeError(429, "rate_limit_exceeded", message, _whole_seconds(wait_s))


def too_many_in_flight(limit: int) -> ServeError:
    """Return the refusal of a client that has as many images in flight as it may."""
    message = f"your limit of images in flight is {limit}; x-ratelimit-remaining-images-in-flight says what is left"
    return ServeError(429, "too_many_in_flight", message, IN_FLIGHT_S)


def expired(slo_s: float) -> ServeError:
    """Return the error of a job whose deadline passed; to try the same again would only take as long again."""
    return ServeError(504, "deadline_expired", f"no image within {slo_s:g} s")


def client_gone() -> ServeError:
    """Return the error of a request whose client went away; nobody reads it."""
    return ServeError(499, "client_gone", "the client went away")


def body_unfinished() -> ServeError:
    """Return the error of a request whose client went away, or was too slow, before its body was here."""
    return ServeError(499, "body_unfinished", "the body did not come whole")


def workers_failed() -> ServeError:
    """Return the error of a job that was given to failing workers too often."""
    return ServeError(503, "worker_failed", "the workers that were given this image failed", WORKERS_FAILED_S)


def content_filtered() -> ServeError:
    """Return the error of an image that a safety checker filtered, with the code of OpenAI's images API.

    Its client raises BadRequestError, and others (LiteLLM) know the code as a violation of the content policy.
    """
    message = "the safety checker filtered the image; change the prompt or the seed"
    return ServeError(400, "content_policy_violation", message)


def too_many_listeners(limit: int) -> ServeError:
    """Return the refusal of one more page that listens."""
    return ServeError(503, "too_many_listeners", f"{limit} pages listen already", LISTENERS_S)


def too_many_connections(limit: int) -> ServeError:
    """Return the refusal of a request on one connection too many."""
    return ServeError(503, "too_many_connections", f"there are {limit} connections already", CONNECTIONS_S)


def store_away() -> ServeError:
    """Return the error where the store of images or jobs does not answer."""
    return ServeError(503, "store_away", "the store of images or jobs does not answer; try again", STORE_S)


def too_many_jobs(limit: int) -> ServeError:
    """Return the refusal of one more job where none of those that are kept has ended."""
    return ServeError(429, "too_many_jobs", f"{limit} jobs are kept, and none of them has ended", JOBS_S)


def too_many_inputs(limit: int) -> ServeError:
    """Return the refusal of a job whose input images find no room beside those of others in the store."""
    message = f"the store keeps at most {limit} bytes of input images of jobs that have not ended; try again"
    return ServeError(429, "too_many_jobs", message, JOBS_S)


def _whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))
