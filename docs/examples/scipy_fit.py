"""Fit a decay with scipy and derivatives by numgrad, with standard errors: ``python scipy_fit.py``.

It needs ``python -m pip install scipy``.
"""

import numpy as np
from scipy.optimize import curve_fit, least_squares, minimize

from numgrad import Gradient, Hessian, Jacobian, numerical_hessian


def model(t, amplitude, rate):
    """Return the decay at the times t."""
    return amplitude * np.exp(-rate * t)


def residuals(p, t, y, sigma):
    """Return the distances from the data, in standard deviations."""
    return (model(t, *p) - y) / sigma


def half_square(p, t, y, sigma):
    """Return the negative logarithm of the likelihood, but for a constant."""
    return 0.5 * np.sum(residuals(p, t, y, sigma) ** 2)


def main():
    """Fit by three solvers, and compare their parameters and standard errors."""
    rng, sigma, start = np.random.default_rng(0), 0.05, np.array([1.0, 1.0])
    t = np.linspace(0.0, 4.0, 50)
    data = (t, model(t, 2.5, 1.3) + rng.normal(0.0, sigma, t.size), sigma)

    derivatives = {"jac": Gradient(half_square, "auto"), "hess": Hessian(half_square)}
    by_hessian = minimize(half_square, start, args=data, method="trust-exact", **derivatives)
    by_residuals = least_squares(residuals, start, args=data, jac=Jacobian(residuals, "auto"))
    by_curve, covariance = curve_fit(
        model, t, data[1], start, sigma=np.full(t.size, sigma), absolute_sigma=True, jac=Jacobian(model).by_parameters
    )
    errors = {
        "minimize": np.linalg.inv(numerical_hessian(half_square, by_hessian.x, args=data)),
        "least_squares": np.linalg.inv(by_residuals.jac.T @ by_residuals.jac),
        "curve_fit": covariance,
    }
    for name, p in (("minimize", by_hessian.x), ("least_squares", by_residuals.x), ("curve_fit", by_curve)):
        amplitude, rate = np.sqrt(np.diag(errors[name]))
        print(f"{name:14} amplitude {p[0]:.4f} +- {amplitude:.4f}   rate {p[1]:.4f} +- {rate:.4f}")
    print("the truth      amplitude 2.5              rate 1.3")


if __name__ == "__main__":
    main()
