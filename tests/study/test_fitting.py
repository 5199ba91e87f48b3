"""How many jobs run at a time where nothing is said."""

from __future__ import annotations

import pytest

from sftlens.study._fitting import Machine, jobs_at_a_time, jobs_that_fit, this_machine

GB = 10**9
H100 = 80 * GB


@pytest.mark.parametrize(
    ("num_parameters", "measured", "expected"),
    [
        (2_600_000, None, 28),  # 0.9 × 80 GB / (16 × 2.6 M + 2.5 GB)
        (97_500_000, None, 17),  # 0.9 × 80 GB / (1.56 GB + 2.5 GB)
        (1_500_000_000, None, 2),  # 24 GB + 2.5 GB each
        (8_000_000_000, None, 1),  # does not fit, and is tried
        (1_500_000_000, 17.4 * GB, 4),  # 0.9 × 80 GB / (17.4 + 0.6) GB
    ],
)
def test_jobs_on_one_gpu(num_parameters: int, measured: float | None, expected: int) -> None:
    assert jobs_that_fit(H100, num_parameters, measured) == expected


@pytest.mark.parametrize(
    ("machine", "num_parameters", "threads", "expected"),
    [
        (Machine(2, 19 * GB), 2_600_000, 1, 2),  # a core each
        (Machine(8, 16 * GB), 15_500_000, 1, 8),  # 1.75 GB each
        (Machine(8, 16 * GB), 15_500_000, 4, 2),
        (Machine(64, 16 * GB), 2_600_000, 1, 9),  # 0.9 × 16 GB / 1.54 GB
        (Machine(8, 16 * GB), 500_000_000, 1, 1),  # 9.5 GB each
        (Machine(8, None), 2_600_000, 1, 8),
        (Machine(1, 2 * GB), 2_600_000, 4, 1),
        (Machine(16, 128 * GB, (H100,)), 2_600_000, 1, 16),  # 28 fit, for 16 cores
        (Machine(16, 128 * GB, (H100,)), 1_500_000_000, 1, 2),
        (Machine(64, 500 * GB, (H100, H100)), 97_500_000, 1, 34),
        (Machine(64, 500 * GB, (H100, 24 * GB)), 97_500_000, 1, 10),  # the smaller has room for 5
        (Machine(2, 16 * GB, (H100,) * 4), 8_000_000_000, 1, 4),  # one a GPU at least
        (Machine(16, 128 * GB, (H100, H100)), None, 1, 2),
        (Machine(16, 128 * GB), None, 1, 1),
    ],
)
def test_jobs_on_a_machine(
    machine: Machine, num_parameters: int | None, threads: int, expected: int
) -> None:
    assert jobs_at_a_time(machine, num_parameters, threads=threads) == expected


def test_what_was_measured_counts() -> None:
    machine = Machine(16, 128 * GB, (H100,))
    assert jobs_at_a_time(machine, 1_500_000_000, measured=10 * GB) == 6


def test_this_machine() -> None:
    """The tests see no GPU."""
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.devices == ()
    assert machine.memory is None or machine.memory > 0
