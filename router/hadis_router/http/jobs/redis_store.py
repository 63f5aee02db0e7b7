"""Jobs in Redis or Valkey: every router answers for them, and they outlive their router.

    PREFIX:job:ID, :result:ID   record and result, until the job expires
    PREFIX:input:ID             its input images, until it has ended
    PREFIX:jobs                 ids by when they expire, for the bound of their number
    PREFIX:busy                 ids for which something is still to be done
    PREFIX:held:ID              while a router sees to the job; where it is gone, another router takes over
    PREFIX:cancel:ID            for the router that runs the job
    PREFIX:key:DIGEST           of an idempotency key: digest of the body, and the job's id

One server, or a primary with replicas: a cluster would part the keys of a transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from hadis_router.dispatch import refusals
from hadis_router.http.jobs.idempotency import Idempotency, same_job
from hadis_router.http.jobs.record import JobRecord
from hadis_router.http.store_metrics import StoreCounts

log = logging.getLogger(__name__)

HELD_S = 10
"""So long after its router died a job is run again; routers say every few seconds that they live."""
_CANCEL_S = 600
_TIMEOUT_S = 5.0
_MOST_CONNECTIONS = 32
_ADD_IF_ROOM = """
local bytes = #ARGV[5]
if bytes > 0 then
    for _, id in ipairs(redis.call('SMEMBERS', KEYS[5])) do
        bytes = bytes + redis.call('STRLEN', ARGV[7] .. id)
    end
    if bytes > tonumber(ARGV[6]) then return 0 end
    redis.call('SET', KEYS[3], ARGV[5], 'EXAT', ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[2], 'EXAT', ARGV[3])
redis.call('SET', KEYS[2], 1, 'EX', ARGV[4])
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
redis.call('SADD', KEYS[5], ARGV[1])
return 1
"""
"""Adds a job unless the input images of those that have not ended would be too many bytes: all of it, or nothing."""
P = ParamSpec("P")
R = TypeVar("R")


def _answering(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Raise ServeError 503 where the store does not answer."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except (RedisError, OSError) as error:
            log.warning("the job store does not answer: %s", error)
            raise refusals.store_away() from None

    return call


class RedisJobs:
    """Jobs in a Redis; made inside a running loop, closed at the end."""

    shared = True

    def __init__(self, url: str, prefix: str, max_count: int, max_input_bytes: int, clock: Callable[[], float]) -> None:
        """`clock` gives Unix time, as records do."""
        self._redis: Any = Redis.from_url(  # its types leave open whether it answers bytes or text
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, max_connections=_MOST_CONNECTIONS
        )
        self._prefix, self._max_count, self._max_input_bytes, self._clock = prefix, max_count, max_input_bytes, clock
        self._add_if_room = self._redis.register_script(_ADD_IF_ROOM)
        self.counts = StoreCounts()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    @_answering
    async def add(self, record: JobRecord, idempotency: Idempotency | None, inputs: bytes = b"") -> JobRecord | None:
        """Keep a new job, or return that of its key; the oldest that have ended make room."""
        # A key that is in use is found before a place is asked for; the second look is for who came just now.
        if (known := await self._of_key(idempotency)) is not None:
            return known
        await self._make_room()
        keys = [self._key(kind, record.id) for kind in ("job", "held", "input")]
        keys += [self._key(kind) for kind in ("jobs", "busy")]
        values: list[str | int | bytes] = [record.id, record.model_dump_json(), int(record.expires_at), HELD_S]
        if not await self._add_if_room(keys, [*values, inputs, self._max_input_bytes, self._key("input", "")]):
            raise refusals.too_many_inputs(self._max_input_bytes)
        self.counts.stored += 1
        if idempotency is None or await self._take_key(idempotency, record):
            return None
        if (known := await self._of_key(idempotency)) is None:
            await self._take_key(idempotency, record, over=True)  # the key's job made room for others
            return None
        await self._forget(record.id)
        return known

    @_answering
    async def get(self, job_id: str) -> JobRecord | None:
        """Return a job that has not expired."""
        return await self._record(job_id)

    @_answering
    async def save(self, record: JobRecord, result: bytes | None = None) -> None:
        """Keep a job as it is now, and its result, unless it has expired or made room."""
        ends = int(record.expires_at)
        if result is not None:
            await self._redis.set(self._key("result", record.id), result, exat=ends)
            self.counts.stored_bytes += len(result)
        kept = await self._redis.set(self._key("job", record.id), record.model_dump_json(), exat=ends, xx=True)
        if not kept:
            await self._redis.delete(self._key("result", record.id))
        if record.ended or not kept:
            await self._redis.delete(self._key("input", record.id))
        if not record.busy or not kept:
            await self._redis.srem(self._key("busy"), record.id)

    @_answering
    async def result(self, job_id: str) -> bytes | None:
        """Return a job's result."""
        content: bytes | None = await self._redis.get(self._key("result", job_id))
        return content

    @_answering
    async def inputs(self, job_id: str) -> bytes:
        """Return the input images of a job that has not ended."""
        return await self._redis.get(self._key("input", job_id)) or b""

    @_answering
    async def remove(self, job_id: str) -> None:
        """Forget a job; its key is free for whoever comes next."""
        await self._forget(job_id)

    @_answering
    async def ask_cancel(self, job_id: str) -> None:
        """Note it for the router that runs the job."""
        await self._redis.set(self._key("cancel", job_id), 1, ex=_CANCEL_S)

    @_answering
    async def hold(self, job_ids: Sequence[str]) -> set[str]:
        """Say that this router lives, and sees to these jobs; return those that are to be cancelled."""
        if not job_ids:
            return set()
        async with self._redis.pipeline(transaction=False) as together:
            for job_id in job_ids:
                together.set(self._key("held", job_id), 1, ex=HELD_S)
            await together.execute()
        values = await self._redis.mget([self._key("cancel", job_id) for job_id in job_ids])
        return {job_id for job_id, value in zip(job_ids, values, strict=True) if value is not None}

    @_answering
    async def let_go(self, job_id: str) -> None:
        """Say that this router sees to a job no longer."""
        await self._redis.delete(self._key("held", job_id))

    @_answering
    async def take_over(self, most: int) -> list[JobRecord]:
        """Return busy jobs that nobody holds; from now on this router does."""
        busy = [job_id.decode() for job_id in await self._members("busy")]
        held = await self._redis.mget([self._key("held", job_id) for job_id in busy]) if busy else []
        taken: list[JobRecord] = []
        for job_id in [job_id for job_id, value in zip(busy, held, strict=True) if value is None]:
            if len(taken) >= most or not await self._redis.set(self._key("held", job_id), 1, ex=HELD_S, nx=True):
                continue
            record = await self._record(job_id)
            if record is not None and record.busy:
                taken.append(record)
            else:
                await self._redis.srem(self._key("busy"), job_id)
        return taken

    async def _record(self, job_id: str) -> JobRecord | None:
        text = await self._redis.get(self._key("job", job_id))
        return JobRecord.model_validate_json(text) if text is not None else None

    async def _of_key(self, idempotency: Idempotency | None) -> JobRecord | None:
        known = await self._redis.get(self._key("key", idempotency.key)) if idempotency else None
        if idempotency is None or known is None:
            return None
        body, job_id = known.decode().split()
        record = await self._record(job_id)
        if record is not None:
            same_job((body, job_id), idempotency)
        return record

    async def _take_key(self, idempotency: Idempotency, record: JobRecord, over: bool = False) -> bool:
        value, ends = f"{idempotency.body} {record.id}", int(record.expires_at)
        return bool(await self._redis.set(self._key("key", idempotency.key), value, exat=ends, nx=not over))

    async def _make_room(self) -> None:
        await self._redis.zremrangebyscore(self._key("jobs"), "-inf", self._clock())
        if await self._redis.zcard(self._key("jobs")) < self._max_count:
            return
        busy = await self._members("busy")
        kept = await self._redis.zrange(self._key("jobs"), 0, -1)
        oldest = next((job_id for job_id in kept if job_id not in busy), None)
        if oldest is None:
            raise refusals.too_many_jobs(self._max_count)
        await self._forget(oldest.decode())
        self.counts.evicted += 1

    async def _forget(self, job_id: str) -> None:
        async with self._redis.pipeline(transaction=True) as together:
            together.delete(*(self._key(kind, job_id) for kind in ("job", "result", "input", "held", "cancel")))
            together.zrem(self._key("jobs"), job_id)
            together.srem(self._key("busy"), job_id)
            await together.execute()

    async def _members(self, kind: str) -> set[bytes]:
        return set(await self._redis.smembers(self._key(kind)))

    def _key(self, kind: str, name: str | None = None) -> str:
        return f"{self._prefix}:{kind}" if name is None else f"{self._prefix}:{kind}:{name}"
