"""Where the runs of a study are trained: processes on this machine, a Dask cluster, or Ray."""

from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from .. import names


@contextmanager
def workers(backend: str, scheduler: str | None, jobs: int | None) -> Iterator[joblib.Parallel]:
    """A joblib `Parallel` on the backend asked for; errors as `run`."""
    names.check("backend", backend, ("loky", "dask", "ray"))
    if scheduler and backend == "loky":
        raise ValueError("a scheduler needs the backend dask or ray")
    settings = {
        "n_jobs": jobs or -1,
        "return_as": "generator_unordered",
        "batch_size": 1,
        "pre_dispatch": "all",
    }
    if backend == "loky":
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield joblib.Parallel(**settings)
    elif backend == "dask":
        if not scheduler:
            raise ValueError(
                "the backend dask needs the address of its scheduler (--scheduler tcp://HOST:8786)"
            )
        if jobs is not None:
            raise ValueError(
                "with the backend dask the number of jobs is that of the cluster's workers; leave jobs out"
            )
        try:
            import distributed
        except ImportError as error:
            raise ImportError(
                f'the backend dask needs dask and distributed: pip install "tutorial-dssm[study]" ({error})'
            ) from error
        with distributed.Client(scheduler, timeout=20) as client:
            client.wait_for_workers(1, timeout=60)
            if (
                max(client.nthreads().values()) > 1
            ):  # threads share torch's global random state, from which initial weights come
                raise ValueError(
                    "every worker must have one thread: start them with `dask worker --nthreads 1 --nworkers N ADDRESS`"
                )
            with joblib.parallel_config("dask"):
                yield joblib.Parallel(**settings)
    else:
        try:
            import ray
            from ray.util.joblib import register_ray
        except ImportError as error:
            raise ImportError(f"the backend ray needs Ray: pip install ray ({error})") from error
        ray.init(address=scheduler, ignore_reinit_error=True, log_to_driver=False)
        register_ray()
        with joblib.parallel_config("ray"):
            yield joblib.Parallel(
                **settings | {"return_as": "list"}
            )  # Ray's backend has no generator: the bar moves at the end
