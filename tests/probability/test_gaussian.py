"""gaussian.py against torch.distributions, SciPy, numerical integration and dense Bayes."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions as D

from lgssm_instances import positive, seeded
from tutorial_dssm.probability.gaussian import (
    DiagonalGaussian,
    Gaussian,
    condition_on_coordinates,
    condition_on_observation,
    entropy,
    full,
    kl,
    kl_diagonal,
    kl_standard,
    log_density,
    log_normal,
    product,
    sample,
)

few = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)
sizes = st.integers(1, 4)
batches = st.sampled_from([(), (1,), (3,), (2, 3)])
forms = st.sampled_from(["diagonal", "full"])
dtypes = st.sampled_from([torch.float32, torch.float64])


def tolerance(dtype):
    return dict(rtol=1e-9, atol=1e-9) if dtype == torch.float64 else dict(rtol=1e-3, atol=1e-3)


def random_vector(generator, batch, n, dtype=torch.float64):
    return torch.randn(*batch, n, generator=generator, dtype=torch.float64).to(dtype)


def random_gaussian(generator, form, batch, n, dtype=torch.float64):
    """Eigenvalues above 0.3, so that float32 is held to float32's accuracy only."""
    mean = random_vector(generator, batch, n, dtype)
    if form == "diagonal":
        return DiagonalGaussian(mean, 0.3 + random_vector(generator, batch, n, dtype).square())
    return Gaussian(mean, positive(random_vector(generator, (*batch, n), n)).to(dtype))


def reference(g):
    """The same density in torch.distributions."""
    if isinstance(g, DiagonalGaussian):
        return D.Independent(D.Normal(g.mean, g.var.sqrt()), 1)
    return D.MultivariateNormal(g.mean, covariance_matrix=g.cov)


def moments(g):
    """Mean and dense covariance, broadcast to one batch shape, as float64 arrays."""
    g = full(g)
    batch = torch.broadcast_shapes(g.mean.shape[:-1], g.cov.shape[:-2])
    n = g.mean.shape[-1]
    return g.mean.expand(*batch, n).double().numpy(), g.cov.expand(*batch, n, n).double().numpy()


# --- log-density, entropy, KL ---------------------------------------------------------------------


@few
@given(seeds, forms, batches, sizes, dtypes)
def test_log_density_and_entropy_agree_with_torch_distributions(seed, form, batch, n, dtype):
    generator = seeded(seed)
    g = random_gaussian(generator, form, batch, n, dtype)
    x = random_vector(generator, batch, n, dtype)
    ours, theirs = log_density(g, x), reference(g).log_prob(x)
    assert ours.shape == batch and ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, **tolerance(dtype))
    torch.testing.assert_close(entropy(g), reference(g).entropy(), **tolerance(dtype))


@few
@given(seeds, forms, sizes)
def test_log_density_and_entropy_agree_with_scipy(seed, form, n):
    generator = seeded(seed)
    g = random_gaussian(generator, form, (), n)
    x = random_vector(generator, (), n)
    mean, cov = moments(g)
    scipy_density = scipy.stats.multivariate_normal(mean, cov)
    assert log_density(g, x).item() == pytest.approx(scipy_density.logpdf(x.numpy()), abs=1e-9)
    assert entropy(g).item() == pytest.approx(scipy_density.entropy(), abs=1e-9)


@few
@given(seeds, forms, forms, batches, sizes, dtypes)
def test_kl_agrees_with_torch_distributions(seed, q_form, p_form, batch, n, dtype):
    """Equations: vae-kl-full"""
    generator = seeded(seed)
    q = random_gaussian(generator, q_form, batch, n, dtype)
    p = random_gaussian(generator, p_form, batch, n, dtype)
    q_reference, p_reference = (q, p) if q_form == p_form else (full(q), full(p))
    theirs = D.kl_divergence(reference(q_reference), reference(p_reference))
    torch.testing.assert_close(kl(q, p), theirs, **tolerance(dtype))
    assert (kl(q, p) >= -1e-4).all()
    torch.testing.assert_close(kl(q, q), torch.zeros(batch, dtype=dtype), **tolerance(dtype))


@few
@given(seeds, batches, sizes)
def test_both_forms_agree(seed, batch, n):
    generator = seeded(seed)
    g = random_gaussian(generator, "diagonal", batch, n)
    p = random_gaussian(generator, "diagonal", batch, n)
    x = random_vector(generator, batch, n)
    torch.testing.assert_close(log_density(g, x), log_density(full(g), x))
    torch.testing.assert_close(entropy(g), entropy(full(g)))
    torch.testing.assert_close(kl(g, p), kl(full(g), full(p)))
    torch.testing.assert_close(kl(g, p), kl(g, full(p)))
    for mixed in (product(full(g), full(p)), product(full(g), p), product(g, full(p))):
        torch.testing.assert_close(mixed.log_normaliser, product(g, p).log_normaliser)
        torch.testing.assert_close(mixed.gaussian, full(product(g, p).gaussian))


def test_the_unchecked_diagonal_formulas_agree_with_torch_distributions():
    """Equations: vae-kl-one, vae-kl"""
    generator = seeded(6)
    q, p = (random_gaussian(generator, "diagonal", (4,), 3) for _ in range(2))
    x = random_vector(generator, (4,), 3)
    torch.testing.assert_close(log_normal(x, *q), reference(q).log_prob(x))
    theirs = D.kl_divergence(reference(q), reference(p))
    torch.testing.assert_close(kl_diagonal(*q, *p), theirs)
    unit = DiagonalGaussian(torch.zeros_like(q.mean), torch.ones_like(q.var))
    theirs = D.kl_divergence(reference(q), reference(unit))
    torch.testing.assert_close(kl_standard(*q), theirs)


def test_batch_axes_broadcast():
    generator = seeded(0)
    prior = random_gaussian(generator, "full", (), 3)
    means = random_vector(generator, (5, 2), 3)
    shared = Gaussian(means, prior.cov)  # one covariance, many means
    assert log_density(prior, means).shape == (5, 2)
    assert kl(shared, prior).shape == (5, 2)
    assert product(shared, prior).log_normaliser.shape == (5, 2)
    assert condition_on_coordinates(shared, [0], means[..., :1]).log_normaliser.shape == (5, 2)
    assert sample(shared, generator, (4,)).shape == (4, 5, 2, 3)
    torch.testing.assert_close(
        log_density(shared, prior.mean)[3, 1], log_density(prior, means[3, 1])
    )


# --- product --------------------------------------------------------------------------------------


@few
@given(seeds, forms, forms, batches, sizes, dtypes)
def test_product_is_pointwise_the_product_of_the_densities(seed, form1, form2, batch, n, dtype):
    generator = seeded(seed)
    g1 = random_gaussian(generator, form1, batch, n, dtype)
    g2 = random_gaussian(generator, form2, batch, n, dtype)
    result = product(g1, g2)
    assert isinstance(result.gaussian, DiagonalGaussian) == (form1 == form2 == "diagonal")
    x = random_vector(generator, (7, *batch), n, dtype)
    ours = result.log_normaliser + log_density(result.gaussian, x)
    torch.testing.assert_close(ours, log_density(g1, x) + log_density(g2, x), **tolerance(dtype))
    swapped = product(g2, g1)
    torch.testing.assert_close(swapped, result, **tolerance(dtype))


@pytest.mark.parametrize("form", ["diagonal", "full"])
def test_product_normaliser_and_moments_by_numerical_integration(form):
    generator = seeded(1)
    g1, g2 = (random_gaussian(generator, form, (), 1) for _ in range(2))
    result = product(g1, g2)

    def integrate(power):
        def integrand(z):
            point = torch.tensor([z], dtype=torch.float64)
            return z**power * math.exp(log_density(g1, point) + log_density(g2, point))

        return scipy.integrate.quad(integrand, -20, 20, points=[0], epsabs=1e-13)[0]

    mass = integrate(0)
    mean = integrate(1) / mass
    mean_ours, cov_ours = moments(result.gaussian)
    assert result.log_normaliser.item() == pytest.approx(math.log(mass), abs=1e-8)
    assert mean_ours.item() == pytest.approx(mean, abs=1e-8)
    assert cov_ours.item() == pytest.approx(integrate(2) / mass - mean**2, abs=1e-8)


# --- conditioning ---------------------------------------------------------------------------------


@few
@given(seeds, forms, forms, batches, sizes, sizes, dtypes)
def test_condition_on_observation_agrees_with_the_dense_information_form(
    seed, form, noise_form, batch, n, m, dtype
):
    """Equations: kf-condition"""
    generator = seeded(seed)
    prior = random_gaussian(generator, form, batch, n, dtype)
    noise = random_gaussian(generator, noise_form, batch, m, dtype)
    H = random_vector(generator, (*batch, m), n, dtype)
    y = random_vector(generator, batch, m, dtype)
    result = condition_on_observation(prior, y, H, noise)

    (prior_mean, P), (d, R), H64 = moments(prior), moments(noise), H.double().numpy()
    residual = (y.double().numpy() - d)[..., None]
    Ht = np.swapaxes(H64, -1, -2)
    information = np.linalg.inv(P) + Ht @ np.linalg.inv(R) @ H64
    shift = np.linalg.inv(P) @ prior_mean[..., None] + Ht @ np.linalg.inv(R) @ residual
    cov = np.linalg.inv(information)
    mean = (cov @ shift)[..., 0]
    close = tolerance(dtype)
    np.testing.assert_allclose(result.gaussian.cov.double().numpy(), cov, **close)
    np.testing.assert_allclose(result.gaussian.mean.double().numpy(), mean, **close)
    evidence_mean = (H64 @ prior_mean[..., None])[..., 0] + d
    evidence = D.MultivariateNormal(
        torch.from_numpy(evidence_mean), torch.from_numpy(H64 @ P @ Ht + R)
    ).log_prob(y.double())
    torch.testing.assert_close(result.log_normaliser.double(), evidence, **close)
    assert result.log_normaliser.dtype == dtype and result.gaussian.cov.dtype == dtype


@few
@given(seeds, forms, batches, st.integers(2, 5), st.data())
def test_condition_on_coordinates_agrees_with_dense_inversion(seed, form, batch, n, data):
    """Equations: kf-condition"""
    generator = seeded(seed)
    joint = random_gaussian(generator, form, batch, n)
    order = data.draw(st.permutations(range(n)))
    index = order[: data.draw(st.integers(1, n - 1))]
    rest = sorted(set(range(n)) - set(index))
    value = random_vector(generator, batch, len(index))
    result = condition_on_coordinates(joint, index, value)
    assert isinstance(result.gaussian, DiagonalGaussian) == (form == "diagonal")

    mean, cov = moments(joint)
    known = cov[..., index, :][..., index]
    cross = cov[..., rest, :][..., index]
    gain = cross @ np.linalg.inv(known)
    residual = value.numpy() - mean[..., index]
    ours_mean, ours_cov = moments(result.gaussian)
    np.testing.assert_allclose(
        ours_mean, mean[..., rest] + (gain @ residual[..., None])[..., 0], atol=1e-9
    )
    np.testing.assert_allclose(
        ours_cov, cov[..., rest, :][..., rest] - gain @ np.swapaxes(cross, -1, -2), atol=1e-9
    )
    # p(known) p(rest | known) = p(joint), at any point
    point = random_vector(generator, batch, n)
    point[..., index] = value
    chain = result.log_normaliser + log_density(result.gaussian, point[..., rest])
    torch.testing.assert_close(chain, log_density(joint, point), rtol=1e-9, atol=1e-9)


def test_the_two_conditionings_agree():
    """Conditioning the joint of (z, y) on y is Bayes' rule for y given z.

    Equations: kf-condition
    """
    generator = seeded(2)
    prior, noise = (random_gaussian(generator, "full", (3,), n) for n in (3, 2))
    H, y = random_vector(generator, (2,), 3), random_vector(generator, (3,), 2)
    cross = H @ prior.cov
    joint = Gaussian(
        torch.cat([prior.mean, (prior.mean @ H.mT) + noise.mean], -1),
        torch.cat(
            [
                torch.cat([prior.cov, cross.mT], -1),
                torch.cat([cross, cross @ H.mT + noise.cov], -1),
            ],
            -2,
        ),
    )
    torch.testing.assert_close(
        condition_on_coordinates(joint, [3, 4], y), condition_on_observation(prior, y, H, noise)
    )


@pytest.mark.parametrize("scale", [1e3, 1e4, 1e5])
def test_float32_survives_a_nearly_exact_observation(scale):
    """Noise 1e6 to 1e8 below the prior: from 1e7 on, P - K H P is indefinite in float32."""

    def posterior(dtype):
        eye = torch.eye(3, dtype=dtype)
        prior = Gaussian(torch.zeros(3, dtype=dtype), scale * (eye + 0.9))
        noise = DiagonalGaussian(torch.zeros(2, dtype=dtype), torch.full((2,), 1e-3, dtype=dtype))
        return condition_on_observation(prior, torch.ones(2, dtype=dtype), eye[:2] + 0.3, noise)

    ours, exact = posterior(torch.float32), posterior(torch.float64)
    assert torch.linalg.eigvalsh(ours.gaussian.cov.double()).min() > 0
    torch.testing.assert_close(
        ours.log_normaliser.double(), exact.log_normaliser, rtol=1e-5, atol=0
    )
    log_density(ours.gaussian, ours.gaussian.mean)  # and is accepted as a covariance


# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["diagonal", "full"])
def test_sample_moments(form):
    """Every entry within 5 of its own standard errors: sqrt(S_ii / N) and sqrt((S_ii S_jj + S_ij^2)
    / N).
    """
    generator, count = seeded(3), 20_000
    g = random_gaussian(generator, form, (2,), 3)
    draws = sample(g, generator, (count,))
    assert draws.shape == (count, 2, 3) and draws.dtype == torch.float64
    mean, cov = map(torch.from_numpy, moments(g))
    variance = cov.diagonal(dim1=-2, dim2=-1)
    assert ((draws.mean(0) - mean).abs() < 5 * (variance / count).sqrt()).all()
    centred = draws - mean
    covariance = torch.einsum("sbi,sbj->bij", centred, centred) / count
    error = ((variance[..., :, None] * variance[..., None, :] + cov**2) / count).sqrt()
    assert ((covariance - cov).abs() < 5 * error).all()


@few
@given(seeds, forms, batches, sizes, dtypes)
def test_sample_is_set_by_its_generator(seed, form, batch, n, dtype):
    g = random_gaussian(seeded(seed), form, batch, n, dtype)
    first = sample(g, seeded(seed))
    assert first.shape == (*batch, n) and first.dtype == dtype
    assert torch.equal(first, sample(g, seeded(seed)))
    assert not torch.equal(first, sample(g, seeded(seed + 1)))


# --- derivatives, devices -------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["diagonal", "full"])
def test_gradients_agree_with_finite_differences(form):
    generator, n, m = seeded(4), 2, 2
    H = random_vector(generator, (m,), n)

    def build(mean, root):  # through a root, so that finite differences stay symmetric
        if form == "diagonal":
            return DiagonalGaussian(mean, 0.3 + root.square())
        return Gaussian(mean, positive(root))

    def root():
        return random_vector(generator, () if form == "diagonal" else (n,), n).requires_grad_()

    def everything(mean1, root1, mean2, root2, x):
        g1, g2 = build(mean1, root1), build(mean2, root2)
        observed = condition_on_observation(g1, x, H, g2)
        conditioned = condition_on_coordinates(g1, [1], x[:1])
        multiplied = product(g1, g2)
        return (
            log_density(g1, x),
            entropy(g1),
            kl(g1, g2),
            multiplied.log_normaliser,
            *multiplied.gaussian,
            observed.log_normaliser,
            *observed.gaussian,
            conditioned.log_normaliser,
            *conditioned.gaussian,
            sample(g1, seeded(5)),
        )

    mean1, mean2, x = (random_vector(generator, (), n).requires_grad_() for _ in range(3))
    assert torch.autograd.gradcheck(everything, (mean1, root(), mean2, root(), x))


@pytest.mark.parametrize("form", ["diagonal", "full"])
def test_meta_device(form):
    """A tensor made on the wrong device would raise here, as it would on a GPU."""
    mean = torch.zeros(5, 3, device="meta")
    spread = torch.ones(5, 3, device="meta")
    g = (
        DiagonalGaussian(mean, spread)
        if form == "diagonal"
        else Gaussian(mean, spread.diag_embed())
    )
    H = torch.zeros(2, 3, device="meta")
    noise = DiagonalGaussian(torch.zeros(2, device="meta"), torch.ones(2, device="meta"))
    observed = condition_on_observation(g, torch.zeros(5, 2, device="meta"), H, noise)
    conditioned = condition_on_coordinates(g, [0], torch.zeros(5, 1, device="meta"))
    scalars = [log_density(g, mean), entropy(g), kl(g, g), product(g, g).log_normaliser]
    for value in [*scalars, observed.log_normaliser, conditioned.log_normaliser]:
        assert value.is_meta and value.shape == (5,)
    assert observed.gaussian.cov.shape == (5, 3, 3) and conditioned.gaussian.mean.shape == (5, 2)
    assert sample(g, torch.Generator()).shape == (5, 3)


# --- bad input ------------------------------------------------------------------------------------

unit = DiagonalGaussian(torch.zeros(3), torch.ones(3))
takes_it = [  # functions of a Gaussian over three coordinates
    lambda g: log_density(g, torch.zeros(3)),
    entropy,
    lambda g: kl(g, unit),
    lambda g: kl(unit, g),
    lambda g: product(g, unit),
    lambda g: product(unit, g),
    lambda g: sample(g, torch.Generator()),
    lambda g: condition_on_observation(unit, torch.zeros(3), torch.eye(3), g),
    lambda g: condition_on_coordinates(g, [0], torch.zeros(1)),
]
bad_covariances = {
    "negative": torch.diag(torch.tensor([1.0, -1.0, 1.0])),
    "singular": torch.ones(3, 3),
    "zero": torch.zeros(3, 3),
    "NaN": torch.full((3, 3), math.nan),
    "NaN in one upper entry": torch.eye(3) + torch.tensor([[0, 0, math.nan], [0, 0, 0], [0, 0, 0]]),
    "asymmetric": torch.eye(3) + torch.tensor([[0, 0.5, 0], [0, 0, 0], [0, 0, 0]]),
}


@pytest.mark.parametrize("cov", bad_covariances.values(), ids=bad_covariances.keys())
@pytest.mark.parametrize(
    "function",
    [*takes_it, lambda g: condition_on_observation(g, torch.zeros(3), torch.eye(3), unit)],
)
def test_a_covariance_that_is_none_raises(function, cov):
    with pytest.raises(ValueError, match="positive"):
        function(Gaussian(torch.zeros(3), cov))
    one_bad_among_good = torch.stack([torch.eye(3), cov])
    with pytest.raises(ValueError, match="positive"):
        function(Gaussian(torch.zeros(2, 3), one_bad_among_good))


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan])
@pytest.mark.parametrize(
    "function",
    takes_it,
)
def test_a_variance_that_is_none_raises(function, variance):
    with pytest.raises(ValueError, match="positive"):
        function(DiagonalGaussian(torch.zeros(3), torch.tensor([1.0, variance, 1.0])))


bad_calls = {
    "cov shape": (
        lambda: entropy(Gaussian(torch.zeros(3), torch.eye(2))),
        r"cov must be \[\.\.\., 3, 3\]",
    ),
    "var as cov": (lambda: entropy(Gaussian(torch.zeros(3), torch.ones(3))), r"cov must be"),
    "var shape": (
        lambda: entropy(DiagonalGaussian(torch.zeros(3), torch.ones(2))),
        r"var must be \[\.\.\., 3\]",
    ),
    "scalar mean": (
        lambda: entropy(DiagonalGaussian(torch.tensor(0.0), torch.ones(2))),
        "mean must be",
    ),
    "no event": (lambda: entropy(DiagonalGaussian(torch.zeros(0), torch.ones(0))), "n >= 1"),
    "batch": (
        lambda: entropy(DiagonalGaussian(torch.zeros(2, 3), torch.ones(4, 3))),
        "do not broadcast",
    ),
    "two batches": (
        lambda: kl(
            DiagonalGaussian(torch.zeros(2, 3), torch.ones(2, 3)),
            DiagonalGaussian(torch.zeros(4, 3), torch.ones(4, 3)),
        ),
        "do not broadcast",
    ),
    "integers": (
        lambda: entropy(DiagonalGaussian(torch.zeros(3).long(), torch.ones(3).long())),
        "floating",
    ),
    "two dtypes": (
        lambda: entropy(DiagonalGaussian(torch.zeros(3), torch.ones(3).double())),
        "floating",
    ),
    "not a Gaussian": (lambda: entropy((torch.zeros(3), torch.ones(3))), "got tuple"),
    "x": (lambda: log_density(unit, torch.zeros(2)), r"x must be \[\.\.\., 3\], got \[2\]"),
    "kl": (lambda: kl(unit, DiagonalGaussian(torch.zeros(2), torch.ones(2))), "3 and 2"),
    "product": (lambda: product(unit, DiagonalGaussian(torch.zeros(2), torch.ones(2))), "3 and 2"),
    "H": (
        lambda: condition_on_observation(unit, torch.zeros(3), torch.eye(2), unit),
        r"\[\.\.\., 3, 3\]",
    ),
    "y": (lambda: condition_on_observation(unit, torch.zeros(2), torch.eye(3), unit), "y must be"),
    "all coordinates": (
        lambda: condition_on_coordinates(unit, [0, 1, 2], torch.zeros(3)),
        "index must",
    ),
    "no coordinate": (lambda: condition_on_coordinates(unit, [], torch.zeros(0)), "index must"),
    "coordinate twice": (
        lambda: condition_on_coordinates(unit, [1, 1], torch.zeros(2)),
        "index must",
    ),
    "coordinate outside": (
        lambda: condition_on_coordinates(unit, [3], torch.zeros(1)),
        "index must",
    ),
    "value": (
        lambda: condition_on_coordinates(unit, [1], torch.zeros(2)),
        r"value must be \[\.\.\., 1\]",
    ),
}


@pytest.mark.parametrize("call, message", bad_calls.values(), ids=bad_calls.keys())
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
