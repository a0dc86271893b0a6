"""Where the runs of a study are trained: processes on this machine, a Dask cluster, or Ray."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import joblib

from ..names import Registry

# Every backend is a context of a joblib `Parallel`, from (address of a scheduler, jobs at a time).
Backend = Callable[[str | None, int | None], AbstractContextManager[joblib.Parallel]]
BACKENDS: Registry[Backend] = Registry("backend")
_SETTINGS = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": "all"}


@contextmanager
def loky(scheduler: str | None, jobs: int | None) -> Iterator[joblib.Parallel]:
    """Processes on this machine, of one thread each: `jobs` at a time, or one for each core."""
    if scheduler:
        raise ValueError("a scheduler needs the backend dask or ray")
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        yield joblib.Parallel(n_jobs=jobs or -1, **_SETTINGS)


@contextmanager
def dask(scheduler: str | None, jobs: int | None) -> Iterator[joblib.Parallel]:
    """The workers of a Dask cluster. They unpickle what its scheduler sends them."""
    if not scheduler:
        raise ValueError(
            "the backend dask needs the address of its scheduler (--scheduler tcp://HOST:8786)"
        )
    if jobs is not None:
        raise ValueError(
            "with the backend dask the number of jobs is that of the cluster's workers; "
            "leave jobs out"
        )
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            "the backend dask needs dask and distributed: "
            f'pip install "tutorial-dssm[study]" ({error})'
        ) from error
    with distributed.Client(scheduler, timeout=20) as client:
        client.wait_for_workers(1, timeout=60)
        # Threads share torch's global random state, from which initial weights come.
        if max(client.nthreads().values()) > 1:
            raise ValueError(
                "every worker must have one thread: start them with "
                "`dask worker --nthreads 1 --nworkers N ADDRESS`"
            )
        with joblib.parallel_config("dask"):
            yield joblib.Parallel(n_jobs=-1, **_SETTINGS)


@contextmanager
def ray(scheduler: str | None, jobs: int | None) -> Iterator[joblib.Parallel]:
    """A Ray cluster, or Ray on this machine. It has no generator: the bar moves at the end."""
    try:
        import ray as installed
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise ImportError(f"the backend ray needs Ray: pip install ray ({error})") from error
    installed.init(address=scheduler, ignore_reinit_error=True, log_to_driver=False)
    register_ray()
    with joblib.parallel_config("ray"):
        yield joblib.Parallel(n_jobs=jobs or -1, **_SETTINGS | {"return_as": "list"})


BACKENDS.add("loky", loky)
BACKENDS.add("dask", dask)
BACKENDS.add("ray", ray)
