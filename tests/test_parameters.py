"""The parameters of nets: one buffer through copies, keys and shapes, kinds of numbers, threads, subclasses."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from numgrad import (
    MultiLayerNet,
    TwoLayerNet,
    check_gradient,
    gradient_descent,
    numerical_gradient,
    numerical_hessian,
    simpleNet,
)
from numgrad.remote import dumps

EPS = 2.0**-52
X, T = np.random.default_rng(3).standard_normal((6, 3)), np.array([0, 1, 2, 3, 1, 0])
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy twice": lambda net: copy.deepcopy(copy.deepcopy(net)),
    **{
        f"pickle {k}": lambda net, k=k: pickle.loads(pickle.dumps(net, k))
        for k in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


class Penalised(MultiLayerNet):
    """A loss of its own."""

    factor = 0.03

    def loss(self, x, t):
        return super().loss(x, t) + self.factor * sum(float(np.sum(array**4)) for array in self.params.values())

    def gradient(self, x, t):
        return {key: slope + 4 * self.factor * self.params[key] ** 3 for key, slope in super().gradient(x, t).items()}


class Mine(np.ndarray):
    """Somebody's own arrays."""


class Slotted(TwoLayerNet):
    __slots__ = ("note",)


def slotted():
    net = Slotted(3, 5, 4, 0.5, rng=1)
    net.note = ["kept"]
    return net


MADE = {
    "two layers": lambda: TwoLayerNet(3, 5, 4, 0.5, rng=1),
    "deep": lambda: MultiLayerNet(3, [5, 2], 4, "tanh", 0.4, 0.01, rng=1),
    "no hidden layer": lambda: MultiLayerNet(3, [], 4, rng=1),
    "subclass": lambda: Penalised(3, [5], 4, "tanh", rng=1),
    "slots": slotted,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", MADE)
def test_a_copied_net_has_one_buffer_too(kind, how):
    net = MADE[kind]()
    first, twin = net.params["W1"], COPIES[how](net)
    assert type(twin) is type(net)
    assert twin.loss(X, T) == net.loss(X, T)
    weights = twin.params["W1"]  # before anybody asks for the buffer
    assert np.shares_memory(weights, twin.flat)
    assert twin.params["W1"] is weights
    assert twin.flat is twin.flat
    assert twin.flat.tobytes() == net.flat.tobytes()
    assert np.shares_memory(first, net.flat)
    slopes = numerical_gradient(lambda _: twin.loss(X, T), twin.flat)
    expected = np.concatenate([slope.ravel() for slope in twin.gradient(X, T).values()])
    assert np.abs(slopes - expected).max() <= 1e-7
    before, own = net.flat.copy(), net.loss(X, T)
    gradient_descent(lambda _: twin.loss(X, T), twin.flat, 0.3, 5)
    assert twin.loss(X, T) < own
    assert (net.flat.tobytes() == before.tobytes()) == (how != "copy")  # which shares the arrays, as of any object
    if kind == "slots":
        assert twin.note == ["kept"]
        assert (twin.note is net.note) == (how == "copy")


def test_shallow_copies_share_the_buffer_whoever_asks_first():
    net = MADE["two layers"]()
    twin = copy.copy(net)
    net.params["W1"] = np.full((3, 5), 0.5)
    flat = twin.flat
    assert net.flat is flat
    assert twin.flat is flat
    assert net.params["W1"][0, 0] == flat[0] == 0.5
    twin.params = {key: array.copy() for key, array in net.params.items()}
    assert not np.shares_memory(twin.flat, net.flat)
    assert net.flat is flat


def test_a_copy_leaves_arrays_alone_that_were_replaced():
    net = MADE["two layers"]()
    net.params["W1"] = mine = np.full((3, 5), 0.5)
    copy.copy(net)
    check = check_gradient(net.objective(X, T), net.gradient(X, T), net.params)
    assert check.ok
    assert net.params["W1"] is mine
    narrow = net.params["W1"] = mine.astype(np.float32)
    assert copy.deepcopy(net).params["W1"].dtype == narrow.dtype
    net.params["W1"] = None  # to be set later
    assert copy.deepcopy(net).params["W1"] is None


HELD = {  # what somebody holds beside a net
    "an array": lambda net: net.params["W1"],
    "another array": lambda net: net.params["b2"],
    "flat": lambda net: net.flat,
    "the dict": lambda net: net.params,
    "a list": lambda net: list(net.params.values()),
}
REPLACED = {
    "one buffer": lambda net: None,
    "an array of its own": lambda net: net.params.update(W1=net.params["W1"].copy()),
    "few digits": lambda net: net.params.update(W1=net.params["W1"].astype(np.float32)),
    "another order": lambda net: net.params.update(W1=net.params["W1"][::-1], b1=net.flat[1:6]),
}


def arrays(held):
    return list(held.values()) if isinstance(held, dict) else held if isinstance(held, list) else [held]


@pytest.mark.parametrize("replaced", REPLACED)
@pytest.mark.parametrize("what", HELD)
@pytest.mark.parametrize("kind", ["two layers", "deep", "subclass", "slots"])
def test_what_is_held_beside_a_net_is_that_of_the_copied_net(kind, what, replaced):
    net = MADE[kind]()
    REPLACED[replaced](net)
    held = HELD[what](net)
    whole, before = replaced == "one buffer" or what == "flat", net.loss(X, T)
    for route, copied in {"deepcopy": copy.deepcopy, "processes": lambda both: pickle.loads(dumps(both))}.items():
        twin, theirs = copied((net, held))
        own = twin.params.values()
        if whole:
            assert np.shares_memory(twin.params["W1"], twin.flat)
            assert all(np.shares_memory(array, twin.flat) for array in arrays(theirs))
        elif replaced != "another order" or route == "processes":
            assert all(any(np.shares_memory(array, one) for one in own) for array in arrays(theirs))
        for array in arrays(theirs):
            array += 0.1 * np.arange(array.size).reshape(array.shape)
        assert twin.loss(X, T) != before
        assert net.loss(X, T) == before


@pytest.mark.parametrize("replaced", ["one buffer", "an array of its own"])
def test_what_was_copied_before_the_net_stays_that_of_the_net(replaced):
    net = MADE["deep"]()
    REPLACED[replaced](net)
    for key in net.params:
        array, twin = copy.deepcopy((net.params[key], net))
        assert twin.params[key] is array
        array += 0.1 * np.arange(array.size).reshape(array.shape)
        assert twin.loss(X, T) != net.loss(X, T)
        assert twin.flat.size == net.flat.size
    flat, twin = copy.deepcopy((net.flat, net))
    assert np.shares_memory(flat, twin.params["W2"])
    assert twin.flat is flat


PASSED = {
    **{key: lambda net, key=key: net.params[key] for key in ("W1", "b1", "W2", "b2")},
    "a row": lambda net: net.params["W1"][1],
    "transposed": lambda net: net.params["W2"].T,
    "backwards": lambda net: net.params["b1"][::-1],
    "flat": lambda net: net.flat,
    "a part of flat": lambda net: net.flat[3:9],
    "params": lambda net: net.params,
    "some params": lambda net: {"first": net.params["W1"], "last": net.params["b2"]},
}


@pytest.mark.parametrize("replaced", ["one buffer", "an array of its own", "few digits"])
def test_processes_see_the_arrays_of_a_net_change(replaced):
    engine = lambda function, tasks: map(pickle.loads(pickle.dumps(function)), tasks)  # noqa: E731, another sweep each
    net = MADE["two layers"]()
    REPLACED[replaced](net)
    for name, of in PASSED.items():
        if name == "a row" and replaced != "one buffer":
            continue  # a view of another array than x is refused, as of any f
        x = of(net)
        found, expected = (numerical_gradient(lambda _: net.loss(X, T), x, workers=k) for k in (engine, 1))
        assert type(found) is type(expected), name
        for one, other in zip(arrays(found), arrays(expected), strict=True):
            assert other.any()
            assert one.tobytes() == other.tobytes(), name
    assert check_gradient(lambda _: net.loss(X, T), net.gradient(X, T), net.params, workers=engine).ok
    before = net.loss(X, T)
    gradient_descent(lambda _: net.loss(X, T), net.params, 0.3, 2, workers=engine)
    assert net.loss(X, T) < before


def test_a_subclass_pickles_what_it_wants():
    class Locked(TwoLayerNet):
        def __init__(self, *sizes, **more):
            super().__init__(*sizes, **more)
            self.lock = threading.Lock()

        def __getstate__(self):
            return {key: value for key, value in vars(self).items() if key != "lock"}

    net = Locked(3, 5, 4, 0.5, rng=1)
    for copied in (copy.copy, copy.deepcopy, lambda net: pickle.loads(dumps(net))):
        twin = copied(net)
        assert twin.loss(X, T) == net.loss(X, T)
        assert np.shares_memory(twin.params["W2"], twin.flat)
        assert not hasattr(twin, "lock")
    assert vars(copy.deepcopy(net)).keys() == vars(net).keys() - {"lock"}
    assert vars(copy.deepcopy(MADE["deep"]())).keys() == vars(MADE["deep"]()).keys()


def test_views_in_another_place_are_no_parts():
    net = MultiLayerNet(4, [4, 4], 4, "tanh", rng=2)
    flat, p = net.flat, net.params
    p["W1"], p["W2"] = p["W2"], p["W1"]
    first = p["W1"].copy()
    assert net.flat is not flat
    assert net.flat[:16].tobytes() == first.tobytes()
    p["W3"] = p["W3"].T
    assert np.shares_memory(net.flat, p["W3"])
    assert p["W3"].flags.c_contiguous
    own = np.arange(float(net.flat.size))  # somebody's own buffer, laid out likewise
    start = 0
    for key, array in p.items():
        p[key] = own[start : start + array.size].reshape(array.shape)
        start += array.size
    assert net.flat is own


@pytest.mark.parametrize(
    "kind", ["list", "int64", "int8", "float32", "float16", "longdouble", "F", "read-only", "subclass"]
)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_numbers_of_any_kind_and_order_have_right_gradients(kind, decay):
    net = MultiLayerNet(3, [5], 4, "tanh", weight_decay_lambda=decay, rng=1)
    values = {key: np.round(30 * array).astype(int) for key, array in net.params.items()}  # squares exceed int8
    for key, array in values.items():
        net.params[key] = array / 1.0
    loss, expected = net.loss(X, T), net.gradient(X, T)
    for key, array in values.items():
        made = {
            "list": lambda a: a.tolist(),
            "F": lambda a: np.asfortranarray(a / 1.0),
            "read-only": lambda a: a / 1.0,
            "subclass": lambda a: (a / 1.0).view(Mine),
        }
        net.params[key] = made.get(kind, lambda a: a.astype(kind))(array)
        if kind == "read-only":
            net.params[key].flags.writeable = False
    net.params = dict(reversed(net.params.items()))
    assert net.loss(X, T) == loss
    for slopes, error in ((net.gradient(X, T), 0.0), (net.numerical_gradient(X, T), 1e-4)):
        assert list(slopes) == ["b2", "W2", "b1", "W1"]
        for key in slopes:
            assert type(slopes[key]) is np.ndarray
            assert np.abs(slopes[key] - expected[key]).max() <= error
    assert net.flat[:4].tolist() == values["b2"].tolist()


def test_other_keys_are_somebody_elses():
    net = MADE["two layers"]()
    expected = net.numerical_gradient(X, T)
    net.params["temperature"] = np.ones(1)
    for slopes in (net.numerical_gradient(X, T), net.gradient(X, T)):
        assert list(slopes) == list(expected)
    assert net.flat.size == 5 * 3 + 5 + 5 * 4 + 4 + 1
    everything = {**net.gradient(X, T), "temperature": np.zeros(1)}
    assert check_gradient(net.objective(X, T), everything, net.params).ok


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: p.update(W1=np.ones((3, 7))), ValueError, r"b1 must have the shape \(7,\), for .* W1, got \(5,\)"),
        (lambda p: p.update(b1=np.ones((1, 5))), ValueError, r"b1 must have the shape \(5,\), .* got \(1, 5\)"),
        (lambda p: p.update(b2=np.ones(1)), ValueError, r"b2 must have the shape \(4,\), for the columns of W2, got"),
        (lambda p: p.update(b2=1.0), ValueError, r"b2 must have the shape \(4,\), .* got \(\)"),
        (lambda p: p.update(W2=np.ones((1, 4))), ValueError, r"W2 must have the shape \(5, units\) .* got \(1, 4\)"),
        (lambda p: p.update(W1=np.ones(3)), ValueError, r"W1 must have the shape \(features, units\) .* got \(3,\)"),
        (lambda p: p.update(W1=1), ValueError, r"W1 must have the shape \(features, units\) .* got \(\)"),
        (lambda p: p.update(W1=None), TypeError, "W1 must hold real numbers"),
        (lambda p: p.update(W1=np.ma.masked_less(p["W1"], 0.0)), TypeError, "W1 has masked elements"),
        (lambda p: p.pop("b1"), ValueError, "params must be a dict with the keys W1, b1, W2, b2, .* got W1, W2, b2"),
        (lambda p: p.clear(), ValueError, "params must be a dict with the keys W1, b1, W2, b2, .* got none"),
    ],
)
def test_params_that_do_not_fit_are_named(change, error, message):
    net = MADE["two layers"]()
    f = net.objective(X, T)
    params = dict(net.params)
    change(params)
    with pytest.raises(error, match=message) as caught:
        f(params)
    assert "\n" not in str(caught.value)
    net.params = params
    methods = net.loss, net.accuracy, net.gradient, net.numerical_gradient, lambda x, _: net.predict(x)
    for method in methods:
        with pytest.raises(error, match=message):
            method(X, T)


@pytest.mark.parametrize("wrong", [lambda p: np.ones(44), lambda p: list(p.values()), lambda p: 3.0, lambda p: None])
def test_the_objective_takes_a_dict(wrong):
    net = MADE["two layers"]()
    with pytest.raises(TypeError, match="params must be a dict with the keys W1, b1, W2, b2, as net"):
        net.objective(X, T)(wrong(net.params))
    with pytest.raises(TypeError, match="params must be a dict with the keys W1, b1, W2, b2, as net"):
        numerical_gradient(net.objective(X, T), net.flat)


def test_an_objective_is_called_by_many_threads():
    net = MADE["two layers"]()
    f = net.objective(X, T)
    points = [{key: array + 0.01 * k for key, array in net.params.items()} for k in range(40)]
    expected = [f(point) for point in points]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            assert list(pool.map(f, points)) == expected
    assert f.net.params is net.params


@pytest.mark.parametrize("kind", ["two layers", "deep"])
def test_masked_samples_are_refused(kind):
    net, linear = MADE[kind](), simpleNet((3, 4), rng=0)
    masked = np.ma.masked_greater(X, 1.0)
    for method in (net.loss, net.gradient, net.numerical_gradient, net.accuracy, linear.loss, linear.objective):
        with pytest.raises(TypeError, match="x has masked elements"):
            method(masked, T)
        method(np.ma.array(X), T)  # nothing is masked
        for labels in (np.ma.masked_equal(T, 1), np.ma.masked_equal(np.eye(4)[T], 1.0)):
            with pytest.raises(TypeError, match="t has masked elements, which would count as what is below"):
                method(X, labels)
        method(X, np.ma.array(T))


def test_a_subclass_with_a_loss_of_its_own_is_differentiated_by_that():
    for make in (lambda: Penalised(3, [5], 4, "tanh", rng=1), lambda: Penalised(3, [], 4, rng=1)):
        net = make()
        exact, found = net.gradient(X, T), net.numerical_gradient(X, T)
        assert list(found) == list(net.params)
        for key, array in net.params.items():
            assert np.abs(found[key] - exact[key]).max() <= 1e-7
            assert np.abs(found[key] - numerical_gradient(lambda _, net=net: net.loss(X, T), array)).max() == 0.0
        assert check_gradient(net.objective(X, T), exact, net.params).ok
        wrong = MultiLayerNet.gradient(net, X, T)
        assert not check_gradient(net.objective(X, T), wrong, net.params).ok
        saved = net.flat.tobytes()
        numerical_hessian(net.objective(X[:1], T[:1]), {key: net.params[key] for key in net.params})
        assert net.flat.tobytes() == saved


def test_a_linear_subclass_with_a_loss_of_its_own_is_too():
    class Ridge(simpleNet):
        def loss(self, x, t):
            return super().loss(x, t) + 0.1 * float(np.sum(np.square(self.W)))

    class Cold(simpleNet):
        def predict(self, x):
            return 2.0 * super().predict(x)

    plain = simpleNet((3, 4), rng=5)
    for kind in (Ridge, Cold):
        net = kind((3, 4), rng=5)
        found = net.numerical_gradient(X, T)
        assert np.abs(found - numerical_gradient(lambda _, net=net: net.loss(X, T), net.W)).max() == 0.0
        assert np.abs(found - plain.numerical_gradient(X, T)).max() > 1e-3
        with pytest.raises(TypeError, match=f"this class has another: {kind.__name__}"):
            net.objective(X, T)
        net.W = net.W.tolist()
        assert np.abs(net.numerical_gradient(X, T) - found).max() <= 1e-10
        assert isinstance(net.W, list)


def test_what_was_set_on_a_net_itself_is_differentiated_too():
    linear = simpleNet((3, 4), rng=5)
    for name in ("loss", "predict"):
        net = simpleNet((3, 4), rng=5)
        own = getattr(net, name)
        setattr(net, name, lambda *a, own=own: 3.0 * own(*a))
        found = net.numerical_gradient(X, T)
        assert found.tobytes() == numerical_gradient(lambda _, net=net: net.loss(X, T), net.W).tobytes()
        assert np.abs(found - linear.numerical_gradient(X, T)).max() > 1e-3
        with pytest.raises(TypeError, match="this net has another: simpleNet"):
            net.objective(X, T)
    for kind in ("two layers", "deep", "subclass"):
        net = MADE[kind]()
        plain, own = net.numerical_gradient(X, T), net.loss
        net.loss = lambda x, t, own=own: 3.0 * own(x, t)
        found = net.numerical_gradient(X, T)
        again = numerical_gradient(net.objective(X, T), net.params)
        for key in net.params:
            expected = numerical_gradient(lambda _, net=net: net.loss(X, T), net.params[key])
            assert found[key].tobytes() == expected.tobytes() == again[key].tobytes()
            assert np.abs(found[key] - 3.0 * plain[key]).max() <= 1e-8
        net.params["W1"] = net.params["W1"].astype(np.float32)
        rough = net.numerical_gradient(X, T)["W1"]  # in place, where the loss reads it
        assert np.abs(rough - found["W1"]).max() <= 1e-3


@pytest.mark.parametrize(("kind", "owner", "name"), [
    ("simple", simpleNet, "loss"), ("simple", simpleNet, "predict"), ("two layers", MultiLayerNet, "loss"),
    ("two layers", TwoLayerNet, "loss"), ("deep", MultiLayerNet, "loss"), ("subclass", MultiLayerNet, "loss"),
])  # fmt: skip
def test_what_was_set_on_a_class_is_differentiated_too(kind, owner, name, monkeypatch):
    net = simpleNet((3, 4), rng=5) if kind == "simple" else MADE[kind]()
    own = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a: 3.0 * own(*a), raising=True)
    found = net.numerical_gradient(X, T)
    for key, array in {"W": net.W}.items() if kind == "simple" else net.params.items():
        expected = numerical_gradient(lambda _: net.loss(X, T), array)
        assert (found if kind == "simple" else found[key]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("activation", ["foo", "", None, ["relu"], 3])
def test_an_unknown_activation_is_named_whenever_it_is_set(activation):
    kind = ValueError if isinstance(activation, str) else TypeError
    message = "^activation must be one of sigmoid, relu, tanh, got "
    with pytest.raises(kind, match=message):
        MultiLayerNet(3, [5], 4, activation)
    net = MADE["deep"]()
    net.activation = activation
    for method in (net.loss, net.gradient, net.numerical_gradient, net.accuracy):
        with pytest.raises(kind, match=message):
            method(X, T)
    with pytest.raises(kind, match=message):
        net.predict(X)


@pytest.mark.parametrize("rng", ["s", {1}, -1, 0.5])
def test_what_is_no_seed_is_named(rng):
    message = r"^rng must be a numpy.random.Generator or a seed, got "
    for make in (
        lambda: simpleNet(rng=rng),
        lambda: TwoLayerNet(3, 2, 2, rng=rng),
        lambda: MultiLayerNet(3, [], 2, rng=rng),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            make()


@pytest.mark.parametrize("kind", [*MADE, "linear"])
def test_an_objective_keeps_the_batch_that_it_was_given(kind):
    net = simpleNet((3, 4), rng=0) if kind == "linear" else MADE[kind]()
    weights = net.W if kind == "linear" else net.params
    for x, t in ((X.copy(), T.copy()), (X.tolist(), T.tolist()), (np.asfortranarray(X), np.eye(4)[T])):
        objective, before = net.objective(x, t), net.loss(x, t)
        x[:], t[:] = x[::-1], t[::-1]
        x[0] = x[1]
        assert net.loss(x, t) != before
        assert objective(weights) == before


class Locked(TwoLayerNet):
    """A net with something that cannot be copied, which its state leaves out."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.lock = threading.Lock()

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "lock"}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.lock = threading.Lock()


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_subclass_has_a_state_of_its_own(twin):
    net = Locked(3, 2, 2, rng=0)
    other = twin(net)
    assert other.lock is not net.lock
    assert np.array_equal(other.flat, net.flat)
