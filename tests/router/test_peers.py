"""What one router knows of the others: whose turn it is, who is passed over, and what is its own."""

from __future__ import annotations

from fake_workers import FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.planning.profile import Profile
from hadis_router.dispatch.peers import SUSPECT_S, TRUSTED_S, Peers
from test_cells import make_routers, make_workers
from virtual import virtual

WORKERS, ROUTERS = make_workers(16), make_routers(3)


def owner_of() -> str:
    peers = Peers("http://elsewhere")
    peers.update(ROUTERS, WORKERS, 0.0)
    owner = peers.only_owner
    assert owner is not None
    return owner


def make_peers(own_url: str | None) -> Peers:
    peers = Peers(own_url)
    peers.update(ROUTERS, WORKERS, 0.0)
    return peers


def test_on_one_machine_everything_is_its_own() -> None:
    peers = make_peers(None)
    assert peers.next_owner() is None
    assert peers.only_owner is None
    assert peers.owns_all
    assert peers.own_workers == tuple(WORKERS)
    assert peers.share == 1


def test_few_workers_have_one_owner_to_whom_the_others_hand_on() -> None:
    owner = owner_of()
    at_owner = make_peers(owner)
    assert (at_owner.next_owner(), at_owner.only_owner, at_owner.owns_all, at_owner.share) == (None, None, True, 1.0)
    elsewhere = make_peers(next(url for url in ROUTERS if url != owner))
    assert (elsewhere.next_owner(), elsewhere.only_owner, elsewhere.owns_all) == (owner, owner, False)
    # What arrives all the same, it can serve.
    assert elsewhere.own_workers == tuple(WORKERS)


def test_a_router_that_is_not_ready_itself_hands_everything_on() -> None:
    assert make_peers("http://not-yet").next_owner() == owner_of()


def test_before_any_router_is_known_requests_are_served_here() -> None:
    peers = Peers("http://10.1.0.1:8080")
    assert peers.next_owner() is None
    peers.update([], WORKERS, 0.0)
    assert peers.next_owner() is None


def test_a_router_that_does_not_answer_is_passed_over_for_a_while() -> None:
    owner = owner_of()
    peers = make_peers(next(url for url in ROUTERS if url != owner))
    peers.suspect(owner, 10.0)
    assert peers.next_owner() != owner
    assert not peers.reconsider(10.0 + SUSPECT_S - 0.1)
    peers.update(ROUTERS, WORKERS, 12.0)
    assert peers.next_owner() != owner, "that it is still listed says nothing"
    assert peers.reconsider(10.0 + SUSPECT_S)
    assert peers.next_owner() == owner


def test_if_nobody_answers_there_is_still_an_owner() -> None:
    peers = make_peers(ROUTERS[0])
    for url in ROUTERS[1:]:
        peers.suspect(url, 0.0)
    assert peers.next_owner() is None
    assert peers.owns_all


def test_many_workers_have_several_owners_and_each_gets_its_part_of_the_requests() -> None:
    workers = make_workers(512)
    peers = Peers(ROUTERS[0])
    peers.update(ROUTERS, workers, 0.0)
    assert not peers.owns_all
    assert peers.only_owner is None
    turns = [peers.next_owner() for _ in range(512)]
    assert turns.count(None) == len(peers.own_workers)
    assert {url for url in turns if url} == set(ROUTERS[1:])
    assert peers.share == len(peers.own_workers) / 512


def test_a_router_is_believed_until_some_time_after_it_left() -> None:
    peers = make_peers(ROUTERS[0])
    assert peers.is_router("10.1.0.2", 0.0)
    assert not peers.is_router("10.9.9.9", 0.0)
    assert not peers.is_router(None, 0.0)
    peers.update(ROUTERS[:1], WORKERS, 100.0)
    assert peers.is_router("10.1.0.2", 100.0 + TRUSTED_S - 1)
    peers.update(ROUTERS[:1], WORKERS, 100.0 + TRUSTED_S - 1)
    assert not peers.is_router("10.1.0.2", 100.0 + TRUSTED_S + 1)


@virtual
async def test_who_owns_nothing_tells_nothing_of_workers(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan(), workers=2)
    dispatcher.submit(job := make_job())
    await job.future
    assert list(dispatcher.worker_ratios) == ["w0"], "of the other no batch was seen"
    owner = owner_of()
    for url in (owner, next(url for url in ROUTERS if url != owner)):
        make_peers(url).follow(dispatcher, make_plan())
        assert bool(dispatcher.ratios) == (url == owner)
    assert dispatcher.worker_ratios == {}
