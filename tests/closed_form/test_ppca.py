"""The parts of the ELBO of pPCA against Monte Carlo, Bayes' rule, autograd and scikit-learn."""

import math

import pytest
import torch
from sklearn.decomposition import PCA

from lgssm_instances import DOUBLE
from tutorial_dssm.closed_form import ppca
from tutorial_dssm.closed_form.linear_vae import exact_posterior
from tutorial_dssm.data import digits
from tutorial_dssm.evaluation import amortisation, bounds
from tutorial_dssm.learning import gradients, in_memory, objectives
from tutorial_dssm.learning.training import TrainingConfig
from tutorial_dssm.models.vae import VAE, VAEConfig
from tutorial_dssm.probability import gaussian
from tutorial_dssm.probability.gaussian import DiagonalGaussian, Gaussian


@pytest.fixture
def model(generator):
    return ppca.LinearGaussian(
        torch.randn(4, 2, generator=generator, **DOUBLE),
        torch.randn(4, generator=generator, **DOUBLE),
        0.7,
    )


@pytest.fixture
def x(model, generator):
    return model.mu + torch.randn(6, 4, generator=generator, **DOUBLE)


def test_evidence_and_posterior_are_those_of_bayes(model, x):
    """Equations: vae-evidence, vae-marginal, vae-bayes"""
    prior = Gaussian(torch.zeros(2, **DOUBLE), torch.eye(2, **DOUBLE))
    noise = Gaussian(model.mu, 0.49 * torch.eye(4, **DOUBLE))
    for i in range(3):
        bayes = gaussian.condition_on_observation(prior, x[i], model.W, noise)
        torch.testing.assert_close(
            gaussian.log_density(ppca.evidence(model), x[i]), bayes.log_normaliser
        )
        torch.testing.assert_close(ppca.posterior(model, x).mean[i], bayes.gaussian.mean)
        torch.testing.assert_close(ppca.posterior(model, x).cov[i], bayes.gaussian.cov)


def test_bound_is_the_average_over_draws_and_the_evidence_minus_the_gap(model, x, generator):
    """Equations: vae-model, vae-elbo, vae-decomposition, vae-two-terms, vae-joint-entropy"""
    q = DiagonalGaussian(
        torch.randn(6, 2, generator=generator, **DOUBLE),
        0.2 + torch.rand(6, 2, generator=generator, **DOUBLE),
    )
    b = ppca.bound(model, q, x)
    torch.testing.assert_close(b.elbo, b.log_joint + b.entropy)
    gap = gaussian.kl(q, ppca.posterior(model, x))
    torch.testing.assert_close(b.elbo + gap, gaussian.log_density(ppca.evidence(model), x))
    z = q.mean + q.var.sqrt() * torch.randn(100_000, 6, 2, generator=generator, **DOUBLE)
    drawn = ppca.log_joint(model, x, z)
    assert ((drawn.mean(0) - b.log_joint).abs() < 5 * drawn.std(0) / 100_000**0.5).all()


def test_no_independent_q_beats_mean_field(model, x, generator):
    """Equations: vae-meanfield"""
    q = ppca.mean_field(model, x)
    top = ppca.bound(model, q, x).elbo
    for _ in range(30):
        other = DiagonalGaussian(
            q.mean + 0.1 * torch.randn(6, 2, generator=generator, **DOUBLE),
            q.var * (0.3 * torch.randn(2, generator=generator, **DOUBLE)).exp(),
        )
        assert (ppca.bound(model, other, x).elbo <= top).all()


def test_maximum_likelihood_is_that_of_scikit_learn(generator):
    """Equations: vae-ppca"""
    x = torch.randn(300, 5, generator=generator, **DOUBLE) @ torch.randn(
        5, 5, generator=generator, **DOUBLE
    )
    found, pca = ppca.maximum_likelihood(x, 2), PCA(2).fit(x.numpy())
    scale = 299 / 300  # scikit-learn divides the covariance by N - 1
    torch.testing.assert_close(ppca.evidence(found).cov, scale * torch.tensor(pca.get_covariance()))
    for bad in (0, 5):
        with pytest.raises(ValueError, match="n > k"):
            ppca.maximum_likelihood(x, bad)


def test_the_books_vae_with_linear_networks_gives_the_evidence_at_every_draw(generator):
    """Equations: vae-two-terms, vae-distortion"""
    x = torch.randn(300, 4, generator=generator, **DOUBLE) @ torch.randn(
        4, 4, generator=generator, **DOUBLE
    )
    model = ppca.maximum_likelihood(x, 2)
    q = exact_posterior(model.W, float(model.sigma))
    vae = ppca.as_vae(model, q.V, q.cov.diagonal())
    log_w = bounds.log_weights(vae, *in_memory.no_control(x), model.sigma, 3, generator)
    torch.testing.assert_close(log_w, gaussian.log_density(ppca.evidence(model), x).expand(3, -1))


@pytest.mark.slow
def test_both_gradients_are_unbiased(model, x, generator):
    """Equations: vae-score, vae-reparam"""
    phi = torch.tensor([0.3, -0.4, -0.5, 0.2], **DOUBLE).requires_grad_()
    elbo = ppca.bound(model, DiagonalGaussian(phi[None, :2], phi[None, 2:].exp()), x[:1]).elbo.sum()
    (exact,) = torch.autograd.grad(elbo, phi)
    mean, log_var = phi.detach().chunk(2)
    noise = torch.randn(50_000, 2, generator=generator, **DOUBLE)

    def log_p(z):
        return ppca.log_joint(model, x[0], z)

    for estimate in (gradients.reparameterisation_gradients, gradients.score_gradients):
        drawn = estimate(log_p, mean, log_var, noise)
        assert drawn.shape == (50_000, 4)
        error = 5 * drawn.std(0) / 50_000**0.5
        assert ((drawn.mean(0) - exact).abs() < error).all(), estimate.__name__


def test_fit_posterior_finds_the_best_independent_q(model, x, generator):
    """Equations: vae-amortisation"""
    best = ppca.mean_field(model, x)
    vae = ppca.as_vae(model, torch.zeros(2, 4, **DOUBLE), torch.ones(2, **DOUBLE))
    start = DiagonalGaussian(best.mean + 0.5, 2 * best.var)
    own = amortisation.fit_posterior(
        vae, x, model.sigma, *start, steps=400, draws=16, generator=generator
    )
    loss = ppca.bound(model, best, x).elbo - ppca.bound(model, own, x).elbo
    assert (loss >= -1e-12).all() and (loss < 0.02).all()
    drawn = amortisation.draw_bound(vae, x, model.sigma, own, 20_000, generator)
    torch.testing.assert_close(drawn, ppca.bound(model, own, x).elbo, atol=0.1, rtol=0)


def test_digits_are_disjoint_and_repeatable():
    split = digits.load_digits(100)
    assert split.train.x.shape == (1697, 64) and split.test.x.shape == (100, 64)
    assert float(split.train.x.min()) == 0 and float(split.train.x.max()) == 1
    assert torch.equal(split.test.x, digits.load_digits(100).test.x)
    assert len(torch.cat([split.train.x, split.test.x]).unique(dim=0)) > 1790
    with pytest.raises(ValueError, match="n_test"):
        digits.load_digits(0)


def test_fit_raises_the_bound_and_repeats():
    x = digits.load_digits().train.x
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        model = VAE(VAEConfig(x_dim=64, hidden=16))
        objective = objectives.make_objective(objectives.LearnedNoiseConfig())
        losses.append(in_memory.fit(model, objective, x, TrainingConfig(steps=60, batch=100)))
    assert torch.equal(*losses) and losses[0].shape == (60,) and not model.training
    assert losses[0][-10:].mean() < losses[0][:10].mean() - 1 and math.isfinite(losses[0][-1])
