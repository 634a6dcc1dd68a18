import operator

import pytest

from safevla.scale import run_jobs


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_jobs(processes):
    assert run_jobs(operator.sub, [(5, 1), (7, 2), (3, 3)], processes) == [4, 5, 0]


@pytest.mark.parametrize("processes", [1, 2])
def test_error_of_a_job_reaches_the_caller(processes):
    with pytest.raises(ZeroDivisionError):
        run_jobs(operator.truediv, [(1, 1), (1, 0)], processes)
