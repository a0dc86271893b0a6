"""Kalman VAE: exact given a, by dense Gaussians with weights written out; what its memory sees."""

import numpy as np
import pytest
import torch

from instances import (
    MASK,
    SIGMA,
    bump,
    elbo,
    generator,
    kl_gaussian,
    linear_kvae,
    lively_kvae,
    log_evidence,
    make,
    normal,
    within,
)
from oracles import DenseGaussian
from tutorial_dssm.probability import kalman
from tutorial_dssm.probability.gaussian import log_normal


def one_step(model, a, u, memory=None):
    """F, b, diagonal of Q and the new memory after (a [A], u [U]): perceptron, LSTM and mixture,
    written out.
    """
    t, H = model.transition, model.transition.rnn.hidden_size
    first, second, last = (layer for layer in t.from_last if hasattr(layer, "weight"))
    logits = last(torch.tanh(second(torch.tanh(first(torch.cat([a, u]))))))
    h, c = (a.new_zeros(H),) * 2 if memory is None else memory
    gates = (
        t.rnn.weight_ih_l0 @ torch.cat([a, u])
        + t.rnn.bias_ih_l0
        + t.rnn.weight_hh_l0 @ h
        + t.rnn.bias_hh_l0
    )
    i, f, g, o = gates.split(H)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    w = torch.softmax(logits + model.config.memory_gain * t.from_memory(h), 0)
    F, B, q = (sum(w[k] * v[k] for k in range(len(w))) for v in (t.F, t.B, t.log_q.exp() + t.floor))
    return F, B @ u, q, (h, c)


def dense_kvae(model, a, u, seen=None):
    """(dense Gaussian of one series with the weights that a [T, A] (zeros where missing) and u
    [T, U] give, a as the LSTM saw it).
    """
    T, memory, steps, imputed = len(a), None, [], []

    def gaussian():
        F, b, Q = (
            np.stack([s[i].numpy() for s in steps]) if steps else np.zeros((0, *shape))
            for i, shape in enumerate([(3, 3), (3,), (3, 3)])
        )
        n = len(steps) + 1
        return DenseGaussian(
            F,
            b,
            Q,
            np.stack([model.H.numpy()] * n),
            np.stack([np.diag(model.r.numpy())] * n),
            np.zeros(3),
            np.eye(3),
        )

    for t in range(T):
        here, mask = (
            gaussian(),
            None if seen is None else np.repeat(seen[: t + 1, None].numpy(), 2, 1),
        )
        if mask is None or seen[t]:
            imputed.append(a[t])
        else:
            imputed.append(
                model.H @ torch.as_tensor(here.posterior(a[: t + 1].numpy(), mask, t)[0][t])
            )
        if t < T - 1:
            F, b, q, memory = one_step(model, imputed[-1], u[t], memory)
            steps.append((F, b, torch.diag(q)))
    return here, imputed


# --- Kalman VAE -----------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 5])
def test_kvae_starts_without_memory(T):
    """At the start the mixture is that of the last a and u alone, whatever came before; later it is
    not.
    """
    a, u = normal(4, T, 2), normal(4, T, 1)
    other = torch.cat([a[:, :-2] + 1, a[:, -2:]], 1)
    for model, same in ((make("kvae"), True), (lively_kvae(), T <= 2)):
        (F, _, _), (G, _, _) = (
            model.transition.matrices(v[:, :-1].transpose(0, 1), u[:, :-1].transpose(0, 1))[0]
            for v in (a, other)
        )
        assert torch.equal(F[-1:], G[-1:]) == same


@pytest.mark.parametrize("T", [1, 5])
def test_kvae_identity_of_every_draw(T):
    """log p(a | z) + log p(z | a, u) - log q(z | a) = log p(a) for every z, by a dense Gaussian
    with weights written out; the rate contains it.
    """
    model, B = lively_kvae(), 12
    x, u = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)
    with torch.no_grad():
        mean, var = model.encoder(x)
        a = mean + var.sqrt() * normal(B, T, 2, seed=3)  # what `terms` draws from this seed
        draw = kalman.sample_joint(model.filter(a, u), normal(B, T, 3, seed=4))
        joint = (
            log_normal(a, draw.z @ model.H.T, model.r).sum(-1)
            + model.log_prior_given(draw.z, u, a)
            - draw.log_density
        )
        exact = torch.tensor(
            [dense_kvae(model, a[i], u[i])[0].log_likelihood(a[i].numpy()) for i in range(B)]
        )
        assert torch.allclose(joint, exact, rtol=0, atol=1e-9)
        terms = model.terms(x, u, generator(3))
        assert torch.allclose(
            terms.rate, log_normal(a, mean, var).sum(-1) - exact, rtol=0, atol=1e-9
        )
        assert torch.allclose(terms.squared_error, ((x - model.decoder(a)) ** 2).sum((1, 2)))
        if T > 1:
            F = model.filter(a, u).F
            assert (F[:, 0] - F[:, -1]).abs().max() > 0.05 and F.std(0).max() > 0.05, (
                "the test needs weights that move"
            )


def test_kvae_rate_has_the_gradient_of_the_drawn_formula():
    """No z is drawn; the gradient is that of log p(a|z) + log p(z|a) - log q(z|a) with a
    reparametrised z all the same.
    """
    model, B, T = lively_kvae(), 3, 4
    x, u = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)
    parameters = [p for name, p in model.named_parameters() if not name.startswith("decoder")]
    mean, var = model.encoder(x)
    a = mean + var.sqrt() * normal(B, T, 2, seed=3)
    draw = kalman.sample_joint(model.filter(a, u), normal(B, T, 3, seed=4))
    joint = (
        log_normal(a, draw.z @ model.H.T, model.r).sum(-1)
        + model.log_prior_given(draw.z, u, a)
        - draw.log_density
    )
    drawn = torch.autograd.grad((log_normal(a, mean, var).sum(-1) - joint).sum(), parameters)
    ours = torch.autograd.grad(model.terms(x, u, generator(3)).rate.sum(), parameters)
    assert all(torch.allclose(g, h, rtol=1e-8, atol=1e-10) for g, h in zip(ours, drawn))


@pytest.mark.parametrize("T", [1, 4])
def test_kvae_bound_misses_the_exact_likelihood_by_the_kl_of_its_encoder(T):
    model, D, d = linear_kvae()
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    with torch.no_grad():
        exact, mean, cov = log_evidence(model, D, d, SIGMA, x, u)
        q_mean, q_var = model.encoder(x)
        gap = kl_gaussian(q_mean.flatten().numpy(), np.diag(q_var.flatten().numpy()), mean, cov)
    draws = elbo(model, x, u, SIGMA, 4000)
    assert gap > 0.1 and draws.mean() < exact
    within(draws, exact - gap, se_below=0.07)


def test_kvae_weights_know_the_past_only():
    model, T = lively_kvae(), 5
    a, u = normal(1, T, 2), normal(1, T, 1, seed=1)
    with torch.no_grad():
        reference = model.filter(a, u).F
        for s in range(T):
            later = [bump(v, s) for v in (a, u)]
            for changed in ((later[0], u), (a, later[1])):
                moved = (
                    ((model.filter(*changed).F - reference).abs() > 1e-9)
                    .flatten(2)
                    .any(-1)[0]
                    .tolist()
                )
                assert moved == [t >= s for t in range(T - 1)], (
                    f"time {s + 1} must reach the transitions from {s + 1} on and no other"
                )


def test_kvae_without_memory_mixes_by_the_last_a_and_u():
    model = make("kvae", 0, memory=False)
    a, u = normal(2, 5, 2, seed=1), normal(2, 5, 1, seed=2)
    with torch.no_grad():
        F = model.matrices(a, u)[0]
        for s in range(4):
            bumped = model.matrices(bump(a, s), u)[0]
            assert [(bumped[:, t] != F[:, t]).any().item() for t in range(4)] == [
                t == s for t in range(4)
            ]
        z = model.predict(normal(2, 3, seed=3), u)
        assert torch.allclose(model.predict(z[:, 2], u[:, 2:]), z[:, 2:]), (
            "its state is Markov: a path goes on from any of its states"
        )


def test_kvae_starts_at_the_principal_components():
    model, x = make("kvae", 0, var0=0.1), normal(30, 4, 5) @ normal(5, 5, seed=1)
    with torch.no_grad():
        model.encoder.head.linear.weight.zero_()
        model.initialise(x)
        a = model.encoder(x)[0].flatten(0, 1)
    assert torch.allclose(a.mean(0), torch.zeros(2, dtype=a.dtype), atol=1e-12) and torch.allclose(
        torch.cov(a.T), torch.eye(2, dtype=a.dtype)
    )


@pytest.mark.parametrize("sample", [False, True])
def test_kvae_prediction_feeds_its_own_path_to_the_lstm(sample):
    model, T = lively_kvae(), 6
    z1, u, noise = normal(2, 3, seed=5), normal(2, T, 1, seed=6), normal(T, 2, 5, seed=7)
    rows = iter(noise)
    model.noise = lambda like, *shape, generator: next(rows)
    with torch.no_grad():
        path = model.predict(z1, u, sample)
        for i in range(2):
            z, memory = z1[i], None
            for t in range(T):
                assert torch.allclose(path[i, t], z, atol=1e-12)
                e = noise[t, i] * sample
                F, b, q, memory = one_step(model, z[:2] + model.r.sqrt() * e[:2], u[i, t], memory)
                z = F @ z + b + q.sqrt() * e[2:]


def test_kvae_predictions_are_draws_of_its_own_model():
    """Paths drawn by `predict` have, under log_prior_given of the very a they were fed, the density
    of their noise.
    """
    model, T = lively_kvae(), 4
    z1, u, noise = normal(2, 3, seed=5), normal(2, T, 1, seed=6), normal(T - 1, 2, 5, seed=7)
    rows = iter(noise)
    model.noise = lambda like, *shape, generator: next(rows)
    with torch.no_grad():
        z = model.predict(z1, u, sample=True)
        a = z @ model.H.T + model.r.sqrt() * torch.cat(
            [noise[..., :2], noise[:1, :, :2]]
        ).transpose(0, 1)
        Q = model.filter(a, u).Q.diagonal(dim1=-2, dim2=-1)
        density = log_normal(noise[..., 2:], torch.zeros(3), torch.ones(3)).sum(
            0
        ) - 0.5 * torch.log(Q).sum((1, 2))
        assert torch.allclose(
            model.log_prior_given(z, u, a) - log_normal(z1, torch.zeros(3), torch.ones(3)),
            density,
            atol=1e-10,
        )


def test_kvae_imputes_what_its_lstm_does_not_see():
    """Nonlinear weights: against a loop over dense Gaussians, each a step longer than the one
    before.
    """
    model, T = lively_kvae(), 6
    x, u = normal(4, T, 5, seed=11), normal(4, T, 1, seed=12)
    with torch.no_grad():
        posterior = model.infer(x, u, generator(), MASK)
        plain = model.infer(x, u, generator())
        for i in range(4):
            a = model.encoder(x[i])[0] * MASK[i, :, None]
            oracle, imputed = dense_kvae(model, a, u[i], MASK[i])
            mean, cov = oracle.posterior(a.numpy(), np.repeat(MASK[i, :, None].numpy(), 2, 1))
            assert np.allclose(posterior.mean[i], mean, atol=1e-9) and np.allclose(
                posterior.var[i], np.einsum("tntn->tn", cov), atol=1e-9
            )
    same = [torch.allclose(a[2], b[2], atol=1e-12) for a, b in zip(posterior, plain)]
    assert all(same), "where all frames are seen, the step-by-step pass is the batched one"
    assert (posterior.mean[0] - plain.mean[0]).abs().max() > 1e-3
