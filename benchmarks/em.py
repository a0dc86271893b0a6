"""One EM iteration of the linear-Gaussian model beside statsmodels: float64, one thread.

    python benchmarks/em.py [--json] [--write]

Both run in turn in the same process, which is pinned to one processor core, from the same
parameters; their log-likelihoods and the transition after one iteration must agree before anything
is timed. `DynamicFactorMQ` is statsmodels' own EM of nearly this model: full Q, diagonal R, but one
series, no controls and no offsets, which ours also estimates. For B series it runs B times, without
sharing parameters (at most ten are run, and the time is scaled up): a lower bound of what EM over a
batch would take there. "smoother" is statsmodels' smoothing pass alone, its objects built
beforehand: an E-step without any M-step.
"""

import os
import warnings
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np  # noqa: E402
import torch  # noqa: E402
from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ  # noqa: E402
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother  # noqa: E402

from timing import command_line, interleave, report  # noqa: E402
from tutorial_dssm.closed_form.em import em_step, factors  # noqa: E402
from tutorial_dssm.models.lgssm import LGSSM, LGSSMConfig, covariance  # noqa: E402

RESULT = Path(__file__).parent / "results" / "em.md"
SIZES = [(1, 1000, 3, 10), (100, 15, 3, 10), (250, 100, 4, 10)]  # B, T, dim z, dim x
ITERATIONS = 5  # of DynamicFactorMQ in one call, so that its preparation is spread


def problem(B, T, n, X):
    """A random stable model without offsets and controls, and series [B, T, X] drawn from it."""
    torch.manual_seed(0)
    model = LGSSM(LGSSMConfig(X, 0, n, f0=0.9)).double()
    u = torch.zeros(B, T, 0, dtype=torch.float64)
    with torch.no_grad():
        z = model.predict(torch.randn(B, n, dtype=torch.float64), u, sample=True)
        noise = torch.randn(B, T, X, dtype=torch.float64)
        x = model.decode(z) + model.config.r0**0.5 * noise
    return model, x, u


def smoothers(model, x):
    """statsmodels objects for the same model, one per series.

    Binding a second array of the same shape would keep the first.
    """
    Q, P1 = covariance(model.log_q, model.lower_q)[0], covariance(model.log_p1, model.lower_p1)[0]
    R = torch.diag(model.log_r.exp())
    tensors = (model.F, Q, model.C, R, model.m1, P1)
    F, Q, C, R, m1, P1 = (v.detach().numpy() for v in tensors)
    made = []
    for series in x:
        s = KalmanSmoother(k_endog=len(C), k_states=len(F), k_posdef=len(F))
        s.bind(series.numpy().copy())
        s["transition"] = F
        s["state_cov"] = Q
        s["design"] = C
        s["obs_cov"] = R
        s["selection"] = np.eye(len(F))
        s.initialize_known(m1, P1)
        made.append(s)
    return made


def factor_models(model, x):
    """DynamicFactorMQ objects, one per series, and parameters to start from."""
    made = []
    for series in x:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.append(
                DynamicFactorMQ(
                    series.numpy().copy(),
                    factors=1,
                    factor_multiplicities=model.z_dim,
                    factor_orders=1,
                    idiosyncratic_ar1=False,
                    standardize=False,
                )
            )
    return made, made[0].start_params


def load(model, start, peer):
    """The parameters and the (stationary) initial state of a DynamicFactorMQ into ours."""
    peer.update(start)
    n, ssm = model.z_dim, peer.ssm
    Q = ssm["state_cov"][:n, :n]
    P1 = peer.smooth(start).predicted_state_cov[:n, :n, 0]
    with torch.no_grad():
        model.F.copy_(torch.tensor(ssm["transition"][:n, :n]))
        model.C.copy_(torch.tensor(ssm["design"][:, :n]))
        model.log_r.copy_(torch.tensor(np.diag(ssm["obs_cov"])).log())
        for name, V, log_var, lower in (
            ("Q", Q, model.log_q, model.lower_q),
            ("P1", P1, model.log_p1, model.lower_p1),
        ):
            new_log_var, new_lower = factors(name, torch.tensor(np.array(V)))
            log_var.copy_(new_log_var)
            lower.copy_(new_lower)


def candidates(size):
    """Ours, the smoothing passes and DynamicFactorMQ, checked against each other."""
    B = size[0]
    model, x, u = problem(*size)
    few = x[: min(B, 10)]  # DynamicFactorMQ on ten series at most, scaled up: it takes that long
    peers, start = factor_models(model, few)
    load(model, start, peers[0])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    smooth = smoothers(model, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = peers[0].fit_em(start, maxiter=1, tolerance=0, return_params=True)
    # the best offsets of a series and its mirror image are 0: the model of DynamicFactorMQ
    mirrored = torch.cat([x[:1], -x[:1]])
    log_p = em_step(model, mirrored, u[:1].expand(2, -1, -1))
    np.testing.assert_allclose(log_p, peers[0].loglike(start), rtol=1e-8)
    peers[0].update(after)
    theirs = peers[0].ssm["transition"][: model.z_dim, : model.z_dim]
    np.testing.assert_allclose(model.F.detach(), theirs, rtol=1e-6, atol=1e-8)
    model.load_state_dict(before)
    log_p = sum(s.smooth().llf_obs.sum() for s in smooth)
    np.testing.assert_allclose(em_step(model, x, u) * B, log_p, rtol=1e-8)

    def ours():
        model.load_state_dict(before)  # always the same iteration
        em_step(model, x, u)

    def factor_em():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for one in peers:
                one.fit_em(
                    start,
                    maxiter=ITERATIONS,
                    tolerance=0,
                    em_initialization=True,
                    return_params=True,
                )

    runs = {"ours": ours, "smoother": lambda: [s.smooth() for s in smooth], "factor_em": factor_em}
    return runs, {"factor_em": B / len(few) / ITERATIONS}


def main():
    written = "the table of the book, benchmarks/results/em.md"
    options = command_line(__doc__, written, 9).parse_args()
    torch.set_num_threads(1)
    rows = []
    for size in SIZES:
        runs, scale = candidates(size)
        seconds = interleave(runs, options.rounds, warmup=1, at_most=15)
        seconds = {name: scale.get(name, 1) * value for name, value in seconds.items()}
        mine = seconds.pop("ours")
        row = dict(zip(("B", "T", "nz", "nx"), size)) | {"ours_ms": 1e3 * mine}
        rows.append(row | {f"{name}_ratio": value / mine for name, value in seconds.items()})
    report(rows, options, RESULT)


if __name__ == "__main__":
    main()
