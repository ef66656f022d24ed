"""What a process may take, from wherever that is said, and how much of it is taken."""

from pathlib import Path

import pytest

from hmsactd.machine.memory import PAGE_BYTES, Limit, limits, used_part

MIB = 1024 * 1024


def system(root: Path, group: str, maxima: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"0::{group}\n")
    for name, said in maxima.items():
        place = root / "sys/fs/cgroup" / ("" if name == "root" else name)
        place.mkdir(parents=True, exist_ok=True)
        (place / "memory.max").write_text(said + "\n")
    return root


def resident(root: Path) -> list[int]:
    return [limit.bytes for limit in limits(root=root) if limit.of == "resident"]


@pytest.mark.parametrize(
    ("group", "maxima", "expected"),
    [
        ("/tower", {"tower": str(512 * MIB)}, [512 * MIB]),
        ("/", {"root": str(256 * MIB)}, [256 * MIB]),
        # A container sees its own group as the root, under a name that leads nowhere.
        ("/../outside", {"root": str(256 * MIB)}, [256 * MIB]),
        ("/tower", {"tower": "max"}, []),
        ("/tower", {}, []),
    ],
)
def test_the_limit_of_the_control_group_is_found(
    tmp_path: Path, group: str, maxima: dict[str, str], expected: list[int]
) -> None:
    assert resident(system(tmp_path, group, maxima)) == expected


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert resident(tmp_path) == []
    assert limits(MIB, tmp_path)[0] == Limit(MIB, "resident")


def test_the_nearest_limit_counts(tmp_path: Path) -> None:
    statm = tmp_path / "statm"
    statm.write_text("4000 1000 10 1 0 1 0\n")
    wide, narrow = Limit(10_000 * PAGE_BYTES, "resident"), Limit(5_000 * PAGE_BYTES, "address space")
    assert used_part((wide,), statm) == 0.1
    assert used_part((wide, narrow), statm) == 0.8
    assert used_part((), statm) == 0
    assert used_part((wide,), tmp_path / "gone") == 0
