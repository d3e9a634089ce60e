"""Every declared range of every class and function refuses values outside it, in one line that names the argument."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

import ssl_bench
from ssl_bench.errors import UserError
from ssl_bench.ranges import Interval, PositiveInt, UnitFloat, check_ranges, label, problem, range_of


def decorated() -> Iterator[Callable[..., Any]]:
    """Classes and functions of the package that are decorated with `check_ranges`."""
    for module in pkgutil.walk_packages(ssl_bench.__path__, "ssl_bench."):
        if module.name == "ssl_bench.ranges":
            continue
        for member in vars(importlib.import_module(module.name)).values():
            function = vars(member).get("__init__") if isinstance(member, type) else member
            here = getattr(member, "__module__", None) == module.name
            if here and inspect.isfunction(function) and function.__code__.co_name == "checked":
                yield member


def signature_hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    hints = get_type_hints(function, include_extras=True)
    return {name: hints[name] for name in inspect.signature(function).parameters if name in hints}


def invalid(hint: Any) -> Iterator[Any]:
    """Values outside the range, or of none of the options, of an annotation; nothing where it declares none."""
    if found := range_of(hint):
        kind, interval = found
        for value in interval.outside():
            yield int(value) if kind is int else float(value)
        yield float("nan")
        return
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        yield "no such option"
    elif origin in (tuple, list):
        for place, one in enumerate(arguments if arguments[-1] is not Ellipsis else arguments[:1]):
            for value in invalid(one):
                items = [valid(other) for other in arguments if other is not Ellipsis]
                items[place] = value
                yield tuple(items)
    elif NoneType in arguments or len(arguments) > 1:
        for one in arguments:
            yield from invalid(one)


def valid(hint: Any) -> Any:
    """A value that the annotation allows, for an argument that is not under test."""
    if found := range_of(hint):
        kind, interval = found
        high = min(interval.high, interval.low + 2)
        return kind(interval.high if kind is int and interval.low + 1 > high else (max(interval.low, -2) + high) / 2)
    return get_args(hint)[0] if get_origin(hint) is Literal else None


def concrete(target: Callable[..., Any]) -> Callable[..., Any]:
    """The target, or of an abstract class a subclass of the same name that has its missing methods."""
    if not inspect.isabstract(target):
        return target
    members = dict.fromkeys(target.__abstractmethods__) | {"__module__": target.__module__}  # type: ignore[attr-defined]
    return type(target.__name__, (target,), members)  # type: ignore[arg-type]


CASES = [
    pytest.param(target, name, value, id=f"{label(target)}-{name}-{value}")
    for target in decorated()
    for name, hint in signature_hints(target).items()
    for value in invalid(hint)
]


@pytest.mark.parametrize(("target", "name", "value"), CASES)
def test_a_value_outside_its_range_is_refused_by_name(target: Callable[..., Any], name: str, value: Any) -> None:
    hints = signature_hints(target)
    required = {
        other: valid(hints.get(other))
        for other, parameter in inspect.signature(target).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    with pytest.raises(UserError, match=rf"^{label(target)}: {name} must be .*, got ") as refused:
        concrete(target)(**required | {name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("target", list(decorated()), ids=label)
def test_defaults_lie_in_their_ranges(target: Callable[..., Any]) -> None:
    hints, parameters = signature_hints(target), inspect.signature(target).parameters
    given = {name: one.default for name, one in parameters.items() if one.default is not one.empty and name in hints}
    assert {name: value for name, value in given.items() if problem(value, hints[name])} == {}


def test_the_message_says_what_was_expected_and_what_was_given() -> None:
    @check_ranges
    def pool(size: PositiveInt, share: UnitFloat | None = None, mode: Literal["max", "mean"] = "max") -> int:
        return size

    assert pool(2, None) == 2
    for arguments, message in {
        (0,): "pool: size must be an integer of at least 1, got 0",
        (1.5,): "pool: size must be an integer of at least 1, got 1.5",
        (True,): "pool: size must be an integer of at least 1, got True",
        (1, 1.5): "pool: share must be a number in [0, 1], got 1.5",
        (1, 0.5, "min"): "pool: mode must be one of 'max', 'mean', got 'min'",
    }.items():
        with pytest.raises(UserError) as refused:
            pool(*arguments)  # type: ignore[arg-type]
        assert str(refused.value) == message


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (Interval(0, 1), (0, 1), (-0.1, 1.1)),
        (Interval(0, 1, closed="left"), (0, 0.9), (-0.1, 1)),
        (Interval(0, 1, closed="right"), (0.1, 1), (0, 1.1)),
        (Interval(0, closed="neither"), (1e-9,), (0, float("inf"), float("nan"))),
        (Interval(), (-1e9, 0), (float("-inf"), float("nan"))),
    ],
)
def test_an_interval_holds_what_lies_in_it(
    interval: Interval, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert all(value in interval for value in inside)
    assert not any(value in interval for value in outside)


def test_items_of_tuples_are_checked_one_by_one() -> None:
    assert problem((1, 2), tuple[PositiveInt, ...]) is None
    assert problem((1, 0), tuple[PositiveInt, ...]) == "a list of items, each an integer of at least 1"
    assert problem(1, tuple[PositiveInt, ...]) == "a list"
    assert problem((1,), tuple[PositiveInt, PositiveInt]) == "a list of 2 items"
    assert problem(0, PositiveInt | tuple[PositiveInt, ...]) == "an integer of at least 1 or a list"
    assert problem("any", tuple[int, ...]) is None
