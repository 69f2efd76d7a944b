"""Page tables, walked by an independent reader."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.units import PAGE, Address
from kpatch.verify.hardware.memory import Arena, Bump, Region, page_down, page_up
from kpatch.verify.hardware.paging import AddressSpace
from kpatch.verify.world.host import HostModel
from kpatch.verify.world.world import World
from tests.verify.machine.workshop import unpatched, world_of


def walk(arenas: list[Arena], root: int, virtual: int) -> int | None:
    """The physical address behind a virtual one: SDM vol. 3, 4.5.4."""
    entry = root
    for level in (39, 30, 21, 12):
        at = (entry & 0x000F_FFFF_FFFF_F000) + 8 * (virtual >> level & 0x1FF)
        arena = next(each for each in arenas if each.base <= at < each.end)
        (entry,) = struct.unpack("<Q", arena.read(at, 8))
        if not entry & 1:
            return None
        assert entry & 0x20, "accessed from the start"
    return (entry & 0x000F_FFFF_FFFF_F000) + virtual % PAGE


@given(
    st.lists(
        st.tuples(st.integers(0, (1 << 35) - 1), st.integers(1, 3)),
        min_size=1,
        max_size=8,
        unique_by=lambda item: item[0] >> 2,
    )
)
def test_every_mapped_page_is_found_and_no_other(places: list[tuple[int, int]]) -> None:
    arena = Arena(0x10_0000, 64 * 4 * PAGE)
    space = AddressSpace(arena, Bump(arena))
    mapped = {}
    for number, (page, count) in enumerate(places):
        virtual = (page & ~3) * PAGE
        space.map(Region("r", Address(virtual), 0x100_0000 * (number + 1), count * PAGE, False))
        for each in range(count):
            mapped[virtual + each * PAGE] = 0x100_0000 * (number + 1) + each * PAGE
        mapped.setdefault(virtual + count * PAGE, 0)
    for virtual, physical in mapped.items():
        assert walk([arena], space.root, virtual) == (physical or None)


def test_a_full_arena_says_so() -> None:
    pages = Bump(Arena(0, 2 * PAGE))
    pages.pages(PAGE + 1)
    with pytest.raises(MemoryError, match="no room"):
        pages.pages(1)


@pytest.mark.parametrize(("size", "pages"), [(0, 0), (1, 1), (PAGE, 1), (PAGE + 1, 2)])
def test_sizes_are_rounded_up_to_pages(size: int, pages: int) -> None:
    assert page_up(size) == pages * PAGE


def test_the_nexus_page_is_the_same_memory_in_both_worlds() -> None:
    world = world_of(unpatched(), HostModel(2))
    arenas = [world.host.arena, world.guest.arena]
    seat = world.guest.seats[0]
    host, monitor = seat.host_root, seat.monitor_root
    copy, twin = world.guest.copy, world.guest.monitor_copy
    assert walk(arenas, host, copy.virtual) == copy.physical
    assert walk(arenas, monitor, copy.virtual) == copy.physical
    assert walk(arenas, monitor, twin.virtual) == copy.physical
    assert walk(arenas, monitor, copy.virtual + PAGE) is None
    assert walk(arenas, monitor, world.host.gdt.virtual) is None
    assert walk(arenas, host, world.guest.gdt.virtual) is None


def test_nothing_lies_next_to_the_host_stack() -> None:
    world = world_of(unpatched(), HostModel(2))
    arenas = [world.host.arena, world.guest.arena]
    stack, root = world.guest.stack, world.guest.seats[0].host_root
    assert walk(arenas, root, stack.virtual) == stack.physical
    assert walk(arenas, root, stack.virtual - 1) is None
    assert walk(arenas, root, stack.end) is None


def test_a_guest_sees_its_own_memory_at_its_own_addresses_and_no_other() -> None:
    subject = unpatched()
    world = World(HostModel(4), subject.module, subject.image, subject.layout, guests=4)
    arenas = [world.host.arena, world.guest.arena]
    for one in world.guest.seats:
        for other in world.guest.seats:
            for own, foreign in ((one.stack, other.stack), (one.state, other.state)):
                found = walk(arenas, one.host_root, foreign.virtual)
                assert found == (own.physical if one is other else None)
            nexus = walk(arenas, one.monitor_root, other.copy.virtual)
            assert nexus == (one.copy.physical if one is other else None)
        assert walk(arenas, one.host_root, world.host.gdt.virtual) == world.host.gdt.physical


def test_neighbours_by_virtual_address_are_neighbours_in_memory() -> None:
    world = world_of(unpatched(), HostModel(16))
    arenas = [world.host.arena, world.guest.arena]
    roots = world.guest.seats[0].roots
    regions = [*world.host.regions, *world.guest.host_regions, *world.guest.monitor_regions]
    for root, region in ((root, each) for root in roots for each in regions):
        for border in (page_down(region.virtual), page_up(region.end)):
            below, above = (walk(arenas, root, at) for at in (border - 1, border))
            assert below is None or above is None or below + 1 == above, region.name


def test_regions_never_share_memory_unless_they_are_aliases() -> None:
    world = world_of(unpatched(), HostModel(16))
    regions = [*world.host.regions, *world.guest.host_regions, world.guest.stub]
    spans = sorted((each.physical, each.physical + each.size) for each in regions)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
